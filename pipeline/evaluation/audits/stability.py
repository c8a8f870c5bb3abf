"""Do changes that leave the diagnosis alone leave the prediction alone?

Each change of a scan (mirrored, turned, noisier, coarser) is predicted beside the scan as it is. A decision that flips
under such a change hung on something else. One scan a patient, so that scans are independent.
"""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest, ttest_1samp

from pipeline.core.columns import CHANGE, MASKED, SCAN_ID, UNCHANGED
from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.comparison import holm
from pipeline.evaluation.predictions import prob_columns
from pipeline.evaluation.sample import Array
from pipeline.evaluation.uncertainty.intervals import wilson_interval
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

TOLERATED = 0.1
"""Share of decisions that may flip: patients near the threshold always do."""


@dataclass(frozen=True)
class Change:
    """What one change does."""

    name: str
    num_patients: int
    mean_shift: float
    """Mean absolute difference of the probability of the class called before."""
    flipped: float
    """Share of decisions that change …"""
    low: float
    high: float
    adjusted_p_value: float
    """… and of a share no larger than tolerated, adjusted over the changes."""


@dataclass(frozen=True)
class Reacquired:
    """What one simulated acquisition does to the logits of the same scans."""

    name: str
    num_patients: int
    shift: float
    """Mean change of the logit, in standard deviations within a class …"""
    low: float
    high: float
    """… with its 95 % interval."""
    adjusted_p_value: float
    """Adjusted over the simulated acquisitions."""


def audit_stability_of_changes(
    changes: pd.DataFrame, threshold: float | None, confidence: float, *, level: float = LEVEL
) -> AuditFinding:
    """`changes` has a row a scan and change with its probabilities; `threshold` decides between two classes."""
    before = changes[changes[CHANGE] == UNCHANGED].set_index(SCAN_ID)
    if len(before) < FEWEST_PATIENTS:
        return not_assessed(f"{len(before)} patients were predicted under changes, this takes {FEWEST_PATIENTS}")
    names = [name for name in changes[CHANGE].unique() if name not in (UNCHANGED, MASKED)]
    after = {name: changes[changes[CHANGE] == name].set_index(SCAN_ID).loc[before.index] for name in names}
    measured = [measure(name, before, rows, threshold, confidence) for name, rows in after.items()]
    adjusted = holm(np.array([too_many(change) for change in measured]))
    metrics = {
        "num_patients": len(before),
        "changes": [asdict(c) | {"adjusted_p_value": float(p)} for c, p in zip(measured, adjusted, strict=True)],
    }
    return verdict([c for c, p in zip(measured, adjusted, strict=True) if p < level], measured, metrics)


def measure(name: str, before: pd.DataFrame, after: pd.DataFrame, threshold: float | None, confidence: float) -> Change:
    old, new = (rows[prob_columns(before)].to_numpy(dtype=float) for rows in (before, after))
    called = calls(old, threshold)
    rows = np.arange(len(old))
    flipped = float((calls(new, threshold) != called).mean())
    shift = float(np.abs(new[rows, called] - old[rows, called]).mean())
    return Change(name, len(old), shift, flipped, *wilson_interval(flipped, len(old), confidence), 1.0)


def calls(probs: Array, threshold: float | None) -> Array:
    """(n,) index of the class that is called."""
    return probs.argmax(1) if threshold is None or probs.shape[1] > 2 else (probs[:, 1] >= threshold).astype(int)


def too_many(change: Change) -> float:
    """p-value of a share of flips no larger than tolerated."""
    count = round(change.flipped * change.num_patients)
    return float(binomtest(count, change.num_patients, TOLERATED, alternative="greater").pvalue)


def verdict(unstable: list[Change], measured: list[Change], metrics: dict[str, object]) -> AuditFinding:
    shown = ", ".join(f"{change.name} {change.flipped:.0%}" for change in unstable or measured)
    if unstable:
        summary = f"Harmless changes flip more decisions than the {TOLERATED:.0%} near the threshold explain: {shown}."
        return AuditFinding("unstable", True, summary, metrics)
    summary = f"Decisions that flip when a scan is changed harmlessly: {shown}. None is shown over {TOLERATED:.0%}."
    return AuditFinding("stable", False, summary, metrics)


def measure_reacquired(logits: pd.DataFrame, is_positive: pd.Series) -> list[Reacquired]:
    """How far each simulated acquisition moves the logits, a row a patient and a column a change; none of few patients.

    The column `UNCHANGED` has the scans as they are.
    """
    rows = logits[logits.index.isin(is_positive.index)]
    if len(rows) < FEWEST_PATIENTS:
        return []
    before, labels = rows[UNCHANGED].to_numpy(), is_positive[rows.index].to_numpy()
    names = [name for name in rows if name != UNCHANGED]
    spread = np.sqrt(sum(before[labels == label].var() * (labels == label).mean() for label in np.unique(labels)))
    shifts = {name: (rows[name].to_numpy() - before) / spread for name in names if spread}
    tests = {name: ttest_1samp(own, 0) for name, own in shifts.items() if own.std()}
    adjusted = holm(np.array([test.pvalue for test in tests.values()]))
    return [
        Reacquired(name, len(rows), float(shifts[name].mean()), *map(float, test.confidence_interval()), float(p))
        for (name, test), p in zip(tests.items(), adjusted, strict=True)
    ]
