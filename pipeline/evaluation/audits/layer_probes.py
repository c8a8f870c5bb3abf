"""Where in the network the signal appears: a linear probe on the embedding of each stage, beside the network's head.

Probes are fitted and judged across parts of the patients that the network did not train on. Each trained fold has a
network and so probes of its own; a patient whom several predicted gets the mean of their standardized scores. Chance is
what the same probes reach when they are fitted to shuffled labels. A probe that beats the head finds something the head
does not use.

N patients that some network did not train on, n of them judged, R shuffles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.model_selection import StratifiedKFold

from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import aurocs, enough_shuffles, held_out_scores, p_value, with_shuffles
from pipeline.evaluation.comparison import holm
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, reason_no_variance
from pipeline.evaluation.uncertainty.intervals import logit_interval
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

NUM_PARTS = 5


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


def audit_layer_probes(
    sample: Sample,
    patients: Sequence[str],
    folds: Sequence[FoldEmbeddings],
    confidence: float,
    seed: int = 0,
    *,
    level: float = LEVEL,
) -> AuditFinding:
    """Probes and head on the rows of a two-class sample, `patients` naming each row's patient."""
    if sample.patients_of_class.min() < FEWEST_PATIENTS:
        return not_assessed(f"under {FEWEST_PATIENTS} patients of a class")
    found, covariance = clustered_auroc(sample.labels == 1, sample.probs[:, [1]], sample.patients, sample.folds)
    head, variance = float(found[0]), float(covariance[0, 0])
    if not np.isfinite(variance):
        return not_assessed(reason_no_variance(variance))
    known = labels_of(folds)
    rows, parts = known.index.get_indexer(patients), deal(known.to_numpy(), seed)
    if parts is None or (rows < 0).any():
        return not_assessed("patients lack embeddings, or a class has too few to fit a probe on")
    labels = shuffle(known, folds, parts, enough_shuffles(level), seed)
    scores = {name: each[rows] for name, each in probe_scores(known, folds, labels, parts).items()}
    if any(np.isnan(each).any() for each in scores.values()):
        return not_assessed("a network has too few patients to fit a probe on")
    stages = measure(sample, labels[rows], scores, confidence)
    metrics = {"head_auroc": head, "stages": [asdict(stage) for stage in stages]}
    return AuditFinding(**verdict(stages, head, level), metrics=metrics)


def labels_of(folds: Sequence[FoldEmbeddings]) -> pd.Series:
    """Is each patient that some network did not train on positive? By patient, each once."""
    found = pd.concat([pd.Series(fold.is_positive, fold.patients) for fold in folds])
    return found[~found.index.duplicated()]


def deal(is_positive: Array, seed: int) -> Array | None:
    """(N,) part in which each patient is left out, the same for all networks; None with one patient of a class."""
    num_parts = min(NUM_PARTS, int(is_positive.sum()), int((~is_positive).sum()))
    if num_parts < 2:
        return None
    parts = np.empty(len(is_positive), dtype=int)
    splitter = StratifiedKFold(num_parts, shuffle=True, random_state=seed)
    for number, (_, left_out) in enumerate(splitter.split(is_positive, is_positive)):
        parts[left_out] = number
    return parts


def shuffle(known: pd.Series, folds: Sequence[FoldEmbeddings], parts: Array, num_shuffles: int, seed: int) -> Array:
    """(N, 1 + R) the labels, and shuffled among patients of the same part whom the same networks did not train on."""
    held_out = np.stack([known.index.isin(fold.patients) for fold in folds], axis=1)
    strata = np.unique(np.column_stack([parts, held_out]), axis=0, return_inverse=True)[1].ravel()
    return with_shuffles(known.to_numpy(), strata, num_shuffles, np.random.default_rng(seed))


def probe_scores(known: pd.Series, folds: Sequence[FoldEmbeddings], labels: Array, parts: Array) -> dict[str, Array]:
    """By stage, (N, 1 + R): mean of the networks' standardized scores of left-out patients, by labels (N, 1 + R)."""
    found: dict[str, Array] = {}
    counts = np.zeros((len(known), 1))
    for fold in folds:
        rows = known.index.get_indexer(fold.patients)
        counts[rows] += 1
        for name, embeddings in fold.stages.items():
            scores = standardized(held_out_scores(embeddings, labels[rows], parts[rows]))
            found.setdefault(name, np.zeros(labels.shape))[rows] += scores
    return {name: scores / counts for name, scores in found.items()}


def standardized(scores: Array) -> Array:
    """Each column with mean 0 and deviation 1, so that networks can be averaged; zeros where nothing varies."""
    return (scores - scores.mean(0)) / np.maximum(scores.std(0), np.finfo(float).tiny)


def measure(sample: Sample, labels: Array, scores: Mapping[str, Array], confidence: float) -> list[Stage]:
    """Each probe's AUROC with its interval, and its lead over the head, paired; `labels` and `scores` (n, 1 + R)."""
    stacked = np.stack([sample.probs[:, 1], *(column[:, 0] for column in scores.values())], axis=1)
    found, covariance = clustered_auroc(sample.labels == 1, stacked, sample.patients, sample.folds)
    ranked = [aurocs(labels, column, sample.folds) for column in scores.values()]
    chance = holm(np.array([p_value(each[0], each[1:]) for each in ranked]))
    leads, spread = found[1:] - found[0], np.diag(covariance)
    variances = spread[1:] + spread[0] - 2 * covariance[0, 1:]
    ahead = holm(norm.sf(leads / np.sqrt(np.maximum(variances, np.finfo(float).tiny))))
    metrics = zip(found[1:], spread[1:], chance, leads, ahead, strict=True)
    return [
        Stage(name, float(auroc), *interval_of(auroc, variance, confidence), float(p), float(lead), float(lead_p))
        for name, (auroc, variance, p, lead, lead_p) in zip(scores, metrics, strict=True)
    ]


def interval_of(auroc: float, variance: float, confidence: float) -> tuple[float, float] | tuple[None, None]:
    has_spread = variance > 0 and 0 < auroc < 1
    return logit_interval(float(auroc), float(variance), confidence) if has_spread else (None, None)


def verdict(stages: list[Stage], head: float, level: float) -> dict[str, object]:
    shown = [stage for stage in stages if stage.p_value < level]
    ahead = [stage for stage in shown if stage.lead_p_value < level]
    if ahead:
        best = max(ahead, key=lambda stage: stage.auroc)
        reached = f"A linear probe on {best.name} reaches an AUROC of {best.auroc:.3f}, the head {head:.3f}"
        summary = f"{reached}: train the head longer."
        return {"verdict": "signal the head leaves unused", "is_alarm": True, "summary": summary}
    if not shown:
        summary = f"No stage's probe is shown to beat chance; the head reaches an AUROC of {head:.3f}."
        return {"verdict": "no linear signal shown", "is_alarm": False, "summary": summary}
    first, best = shown[0], max(shown, key=lambda stage: stage.auroc)
    summary = (
        f"A linear probe first beats chance at {first.name} (AUROC {first.auroc:.3f}) and is best at {best.name} "
        f"({best.auroc:.3f}); none is shown to beat the head's {head:.3f}."
    )
    return {"verdict": f"signal from {first.name} on", "is_alarm": False, "summary": summary}
