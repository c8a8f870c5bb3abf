"""How far two experiments' AUROCs are apart on the same patients, and how well these patients show it."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from pipeline.evaluation.metrics.discrimination import auroc
from pipeline.evaluation.precision.bootstrap import resamples
from pipeline.evaluation.precision.obuchowski import clustered_auroc, why_no_spread
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Array, Sample


@dataclass(frozen=True)
class Difference:
    """Of two AUROCs, each the mean over seeds; what is None has a reason."""

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    reason: str | None = None


def normal_difference(first: list[Sample], second: list[Sample], settings: Settings) -> Difference:
    """From the covariance of all scores over patients, and the variance over seeds."""
    reference, samples = first[0], [*first, *second]
    scores = np.stack([sample.probs[:, 1] for sample in samples], axis=1)
    aurocs, covariance = clustered_auroc(reference.labels == 1, scores, reference.patients, reference.folds)
    contrast = contrast_of(first, second)
    return student_difference(aurocs, contrast, float(contrast @ covariance @ contrast), settings.confidence)


def resampled_difference(first: list[Sample], second: list[Sample], settings: Settings) -> Difference:
    """The same by resampling patients, each resample judging all models."""
    blocks = [
        [auroc(sample.weighted(weighted.weights)) for sample in (*first, *second)]
        for weighted in resamples(first[0], settings.num_bootstrap, settings.seed)
    ]
    aurocs = np.array([auroc(sample.weighted())[0] for sample in (*first, *second)])
    contrast = contrast_of(first, second)
    of_patients = float((contrast @ np.concatenate(blocks, axis=1)).var(ddof=1))
    return student_difference(aurocs, contrast, of_patients, settings.confidence)


def contrast_of(first: list[Sample], second: list[Sample]) -> Array:
    """Weights of the samples' figures in the difference of the two means."""
    return np.repeat([1 / len(first), -1 / len(second)], [len(first), len(second)])


def student_difference(aurocs: Array, contrast: Array, of_patients: float, confidence: float) -> Difference:
    """Normal without seeds; with them Student's, whose degrees of freedom say how well few seeds show their spread."""
    value = float(contrast @ aurocs)
    groups = [part for part in (aurocs[contrast > 0], aurocs[contrast < 0]) if len(part) > 1]
    of_seeds = [float(part.var(ddof=1)) / len(part) for part in groups]
    variance = of_patients + sum(of_seeds)
    reason = why_unjudged(variance, aurocs)
    if reason:
        return Difference(value, reason=reason)
    uncertain = sum(part**2 / (len(group) - 1) for part, group in zip(of_seeds, groups, strict=True))
    freedom = variance**2 / uncertain if uncertain else np.inf
    error = float(np.sqrt(variance))
    reach = float(student.ppf((1 + confidence) / 2, freedom)) * error
    p_value = float(2 * student.sf(abs(value) / error, freedom))
    return Difference(value, error, value - reach, value + reach, p_value)


def why_unjudged(variance: float, aurocs: Array) -> str | None:
    """What keeps a difference of this variance from being judged, None where nothing does."""
    reason = why_no_spread(variance)
    if reason is None or not np.isfinite(variance):
        return reason
    if np.isin(aurocs, (0, 1)).all():
        return "the classes are separated by both, so there is no spread to judge"
    return "they rank these patients alike" if np.ptp(aurocs) == 0 else "neither shows any spread"
