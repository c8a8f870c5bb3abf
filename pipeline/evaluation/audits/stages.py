"""Where in the network the signal appears: a linear probe on the embedding of each stage, beside the network's head.

Probes are fitted and judged across folds of patients that the network did not train on. Each trained fold has a network
and so probes of its own; a patient whom several predicted gets the mean of their standardised scores. A probe that
beats the head finds something the head does not use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import norm
from sklearn.model_selection import StratifiedKFold

from pipeline.evaluation.audits.finding import LEVEL, Finding, not_judged
from pipeline.evaluation.audits.permutation import NUM_SHUFFLES, auroc_p_value
from pipeline.evaluation.audits.probes import probe_map
from pipeline.evaluation.comparing.comparison import holm
from pipeline.evaluation.precision.estimates import FEWEST_PATIENTS
from pipeline.evaluation.precision.intervals import logit_interval
from pipeline.evaluation.precision.obuchowski import clustered_auroc, why_no_spread
from pipeline.evaluation.tables.sample import Array, Sample

NUM_FOLDS = 5


@dataclass(frozen=True)
class Stage:
    """The probe of one stage against the head."""

    name: str
    auroc: float
    low: float | None
    high: float | None
    p_value: float
    """Of chance, adjusted over the stages."""
    lead: float
    """AUROC of the probe minus that of the head …"""
    lead_p_value: float
    """… and of no lead, adjusted over the stages."""


@dataclass(frozen=True)
class FoldEmbeddings:
    """What one trained network makes of the patients it did not train on."""

    patients: Array
    """(m,) ids."""
    is_positive: Array
    """(m,)."""
    stages: Mapping[str, Array]
    """By name, each (m, F)."""


def judge_stages(
    sample: Sample, patients: Sequence[str], folds: Sequence[FoldEmbeddings], confidence: float, seed: int = 0
) -> Finding:
    """Probes and head on the rows of a two-class sample, `patients` naming each row's patient."""
    if sample.patients_of_class.min() < FEWEST_PATIENTS:
        return not_judged(f"under {FEWEST_PATIENTS} patients of a class")
    aurocs, covariance = clustered_auroc(sample.labels == 1, sample.probs[:, [1]], sample.patients, sample.folds)
    head, variance = float(aurocs[0]), float(covariance[0, 0])
    if not np.isfinite(variance):
        return not_judged(why_no_spread(variance))
    scores = probe_scores(patients, folds, seed)
    if any(np.isnan(column).any() for column in scores.values()):
        return not_judged("patients lack embeddings, or a class has too few to fit a probe on")
    stages = measure(sample, scores, confidence, seed)
    figures = {"head_auroc": head, "stages": [asdict(stage) for stage in stages]}
    return Finding(**verdict(stages, head), figures=figures)


def probe_scores(patients: Sequence[str], folds: Sequence[FoldEmbeddings], seed: int) -> dict[str, Array]:
    """By stage, the mean of the folds' standardised out-of-fold scores of each patient; NaN for unknown ones."""
    found: dict[str, list[Array]] = {}
    for fold in folds:
        places = {patient: row for row, patient in enumerate(fold.patients)}
        rows = np.array([places.get(patient, -1) for patient in patients])
        for name, embeddings in fold.stages.items():
            scores = out_of_fold(embeddings, fold.is_positive, seed)
            found.setdefault(name, []).append(np.where(rows < 0, np.nan, scores[rows]))
    return {name: mean_known(np.stack(columns)) for name, columns in found.items()}


def mean_known(columns: Array) -> Array:
    """(n,) mean over the rows that are not NaN of (folds, n); NaN where all are."""
    known = np.isfinite(columns)
    with np.errstate(invalid="ignore"):
        return np.where(known, columns, 0).sum(0) / known.sum(0)


def out_of_fold(embeddings: Array, is_positive: Array, seed: int) -> Array:
    """(m,) standardised probe scores of patients left out in turn, stratified; NaN with one patient of a class."""
    num_folds = min(NUM_FOLDS, int(is_positive.sum()), int((~is_positive).sum()))
    if num_folds < 2:
        return np.full(len(is_positive), np.nan)
    scores = np.empty(len(is_positive))
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    for seen, judged in splitter.split(embeddings, is_positive):
        scores[judged] = probe_map(embeddings[seen], embeddings[judged]) @ is_positive[seen].astype(float)
    return (scores - scores.mean()) / max(scores.std(), np.finfo(float).tiny)


def measure(sample: Sample, scores: Mapping[str, Array], confidence: float, seed: int) -> list[Stage]:
    """Each probe's AUROC with its interval, and its lead over the head, paired."""
    generator, is_positive = np.random.default_rng(seed), sample.labels == 1
    stacked = np.stack([sample.probs[:, 1], *scores.values()], axis=1)
    aurocs, covariance = clustered_auroc(is_positive, stacked, sample.patients, sample.folds)
    chance = [auroc_p_value(is_positive, column, sample.folds, NUM_SHUFFLES, generator) for column in scores.values()]
    leads, spread = aurocs[1:] - aurocs[0], np.diag(covariance)
    variances = spread[1:] + spread[0] - 2 * covariance[0, 1:]
    ahead = norm.sf(leads / np.sqrt(np.maximum(variances, np.finfo(float).tiny)))
    figures = zip(aurocs[1:], spread[1:], holm(np.array(chance)), leads, holm(ahead), strict=True)
    return [
        Stage(name, float(auroc), *interval_of(auroc, variance, confidence), float(p), float(lead), float(lead_p))
        for name, (auroc, variance, p, lead, lead_p) in zip(scores, figures, strict=True)
    ]


def interval_of(auroc: float, variance: float, confidence: float) -> tuple[float, float] | tuple[None, None]:
    has_spread = variance > 0 and 0 < auroc < 1
    return logit_interval(float(auroc), float(variance), confidence) if has_spread else (None, None)


def verdict(stages: list[Stage], head: float) -> dict[str, object]:
    shown = [stage for stage in stages if stage.p_value < LEVEL]
    ahead = [stage for stage in shown if stage.lead_p_value < LEVEL]
    if ahead:
        best = max(ahead, key=lambda stage: stage.auroc)
        words = f"A linear probe on {best.name} reaches {best.auroc:.3f} where the head reaches {head:.3f}, as AUROC: "
        return {"verdict": "signal the head leaves unused", "is_alarm": True, "words": words + "train the head longer."}
    if not shown:
        words = f"No stage's probe is shown to beat chance; the head reaches an AUROC of {head:.3f}."
        return {"verdict": "no linear signal shown", "is_alarm": False, "words": words}
    first, best = shown[0], max(shown, key=lambda stage: stage.auroc)
    words = (
        f"A linear probe first beats chance at {first.name} (AUROC {first.auroc:.3f}) and is best at {best.name} "
        f"({best.auroc:.3f}); none is shown to beat the head's {head:.3f}."
    )
    return {"verdict": f"signal from {first.name} on", "is_alarm": False, "words": words}
