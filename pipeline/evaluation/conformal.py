"""Conformal sets: the classes that cannot be excluded for a patient, with a stated coverage.

A class is in the set where its probability is at least that of all but a small share of the validation patients of
that class (split conformal prediction by class; Vovk, arXiv:1209.2673; Angelopoulos and Bates, arXiv:2107.07511).
A set of one class is an answer; any other is an abstention. Coverage holds on average over validation sets; for a
single set it follows a beta distribution that depends only on the number of patients.
"""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.stats import beta

from pipeline.evaluation.operating_point import APPROXIMATE
from pipeline.evaluation.registry import Metric, metric_title
from pipeline.evaluation.sample import Array, Sample, Weighted
from pipeline.evaluation.uncertainty.methods import Rows, Wilson

PATIENTS_FOR_SETS, PATIENTS_FOR_STRICT_SETS, STRICT_COVERAGE = 20, 40, 0.95


@dataclass(frozen=True)
class Conformal:
    """FittedOnValidation limits, or the reason why there are none; plain enough to be kept as JSON."""

    coverage: float
    """Share of patients of each class whose set must contain it."""
    limits: dict[str, float] = field(default_factory=dict)
    """By class: the probability from which the class is in the set."""
    num_patients: dict[str, int] = field(default_factory=dict)
    """By class: validation patients."""
    expected_range: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By class: coverage of 95 in 100 validation sets of this size."""
    reason: str | None = None
    caveat: str | None = None
    """Why coverage is approximate."""

    def sets(self, sample: Sample) -> Array:
        """(n, K) boolean, the classes in each row's set."""
        return sample.probs >= np.array([self.limits[name] for name in sample.class_names])


def fit_conformal(validation: Sample | None, coverage: float, num_models: int = 1) -> Conformal:
    """The limits that keep `coverage` in each class; approximate with several models, so without a range."""
    reason = reason_unavailable(validation, coverage)
    if validation is None or reason:
        return Conformal(coverage, reason=reason)
    counts = dict(zip(validation.class_names, validation.patients_of_class.tolist(), strict=True))
    of_truth = [validation.probs[validation.labels == k, k] for k in range(validation.num_classes)]
    limits = {
        name: float(np.sort(probs)[num_outside(len(probs), coverage) - 1])
        for name, probs in zip(validation.class_names, of_truth, strict=True)
    }
    if num_models > 1:
        return Conformal(coverage, limits, counts, caveat=APPROXIMATE.format(num_models))
    ranges = {name: coverage_range(count, coverage) for name, count in counts.items()}
    return Conformal(coverage, limits, counts, ranges)


def reason_unavailable(validation: Sample | None, coverage: float) -> str | None:
    if validation is None:
        return "no validation rows"
    if len(validation.labels) != validation.num_patients:
        return "conformal sets need one row per patient, and patients here have several"
    needed = max(PATIENTS_FOR_STRICT_SETS if coverage >= STRICT_COVERAGE else PATIENTS_FOR_SETS, fewest_for(coverage))
    fewest = int(validation.patients_of_class.min())
    if fewest < needed:
        name = validation.class_names[int(validation.patients_of_class.argmin())]
        return f"{fewest} validation patients of class '{name}', sets of coverage {coverage:g} need {needed} a class"
    return None


def fewest_for(coverage: float) -> int:
    """Fewest patients with which a limit above 0 keeps the coverage."""
    return int(np.ceil(1 / (1 - coverage) - 1e-9)) - 1


def num_outside(num_patients: int, coverage: float) -> int:
    """Rank, from the lowest, of the validation patient whose probability is the limit; 0 with too few of them."""
    return int(np.floor((num_patients + 1) * (1 - coverage) + 1e-9))


def coverage_range(num_patients: int, coverage: float, within: float = 0.95) -> tuple[float, float]:
    """Central range of the coverage over validation sets of this size: Beta(n + 1 - l, l)."""
    outside = num_outside(num_patients, coverage)
    spread = beta(num_patients + 1 - outside, outside)
    return float(spread.ppf((1 - within) / 2)), float(spread.ppf((1 + within) / 2))


def conformal_metrics(conformal: Conformal) -> dict[str, Metric]:
    """Coverage and abstention on patients that the sets were not fitted on."""
    return {
        "conformal_coverage": share("conformal_coverage", partial(covers_label, conformal)),
        "conformal_abstention_rate": share("conformal_abstention_rate", partial(abstains, conformal)),
    }


def share(name: str, hits: Rows) -> Metric:
    def share_of_hits(weighted: Weighted) -> Array:
        return weighted.mean(hits(weighted.sample).astype(float))

    return Metric(name, share_of_hits, metric_title(name), Wilson(hits), needs_every_class=False)


def covers_label(conformal: Conformal, sample: Sample) -> Array:
    return conformal.sets(sample)[np.arange(len(sample.labels)), sample.labels]


def abstains(conformal: Conformal, sample: Sample) -> Array:
    return conformal.sets(sample).sum(1) != 1
