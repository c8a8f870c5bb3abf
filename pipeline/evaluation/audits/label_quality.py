"""Which labels may be wrong: those that stand against a confident prediction by a model that never saw the patient.

Confident learning's rule (Northcutt et al., Journal of Artificial Intelligence Research 2021;70:1373-1411): a row is
suspect if its probability of another class is at least as high as is usual among the rows labeled so, and higher than
of its own. Rows are ranked by how far the other class leads.

Some contradictions are to be expected: as many as the model's own probabilities say. More of them mean wrong labels or
an overconfident model; which of the two, no table can tell, so probabilities that are seen not to mean what they say
are ranked and not judged.
"""

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT
from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import p_value
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.metrics.calibration import predicted_and_observed
from pipeline.evaluation.predictions import class_names, prob_columns
from pipeline.evaluation.sample import Array, Sample, from_positive
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

SUGGESTED, LEAD, SUSPECT = "suggested", "lead", "is_suspect"
COLUMNS = (SCAN_ID, PATIENT_ID, SPLIT, LABEL, SUGGESTED, LEAD, SUSPECT)
"""Of the ranked table; patients have no scan_id."""
NUM_DRAWS = 999


def rank_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, patients or scans, from the most doubtful label to the least."""
    names, probs, labels = arrays_of(rows)
    others = np.where(np.eye(len(names), dtype=bool)[labels], -np.inf, probs)
    ranked = rows[[column for column in (SCAN_ID, PATIENT_ID, SPLIT, LABEL) if column in rows]].assign(
        **{
            SUGGESTED: np.array(names)[others.argmax(1)],
            LEAD: others.max(1) - probs[np.arange(len(probs)), labels],
            SUSPECT: suspects(probs, labels),
        }
    )
    return ranked.sort_values([SUSPECT, LEAD], ascending=False, kind="stable", ignore_index=True)


def audit_label_quality(
    rows: pd.DataFrame,
    settings: Settings,
    *,
    is_calibrated: bool,
    num_draws: int = NUM_DRAWS,
    level: float = LEVEL,
) -> AuditFinding:
    """Are more labels contradicted than the probabilities themselves allow for?"""
    names, probs, labels = arrays_of(rows)
    fewest = np.bincount(labels, minlength=len(names)).min()
    if fewest < FEWEST_PATIENTS:
        return not_assessed(f"{fewest} rows of a class, this takes {FEWEST_PATIENTS}")
    patients = pd.factorize(rows[PATIENT_ID])[0]
    if not is_calibrated and is_miscalibrated(Sample(labels, probs, patients, labels * 0, tuple(names)), settings):
        return not_assessed("the probabilities are not calibrated, and a slope of 1 is outside their interval")
    found = int(suspects(probs, labels).sum())
    generator = np.random.default_rng(settings.seed)
    drawn = np.array([suspects(probs, draw_labels(probs, patients, generator)).sum() for _ in range(num_draws)])
    expected, chance = float(drawn.mean()), p_value(found, drawn)
    figures = {"num_rows": len(rows), "num_suspect": found, "num_expected": expected, "p_value": chance}
    counted = f"{found} of {len(rows)} labels stand against a confident prediction"
    if chance < level:
        words = (
            f"{counted}, where the model's own probabilities allow for {expected:.1f}: labels are wrong, or the model "
            "is overconfident. Look at the first of the list."
        )
        return AuditFinding("labels in doubt", True, words, figures)
    words = f"{counted}; the model's own probabilities allow for {expected:.1f}."
    return AuditFinding("no more contradictions than expected", False, words, figures)


def arrays_of(rows: pd.DataFrame) -> tuple[list[str], Array, Array]:
    """Class names, probabilities (n, K) and labels (n,)."""
    names = class_names(rows)
    assert prob_columns(rows) == [f"{PROB_PREFIX}{name}" for name in names]
    labels = rows[LABEL].map({name: k for k, name in enumerate(names)}).to_numpy(dtype=int)
    return names, rows[prob_columns(rows)].to_numpy(dtype=float), labels


def suspects(probs: Array, labels: Array) -> Array:
    """(n,) does some other class reach what is usual for it, and lead? A class without rows has no usual."""
    own = probs[np.arange(len(probs)), labels]
    counts = np.bincount(labels, minlength=probs.shape[1])
    usual = np.bincount(labels, weights=own, minlength=probs.shape[1]) / np.maximum(counts, 1)
    usual[counts == 0] = np.inf
    return ((probs >= usual) & (probs > own[:, None])).any(1)


def draw_labels(probs: Array, patients: Array, generator: np.random.Generator) -> Array:
    """(n,) a label for each row, drawn with its probabilities, and with one draw for all scans of a patient."""
    return (generator.random(patients.max() + 1)[patients, None] > probs.cumsum(1)[:, :-1]).sum(1)


def is_miscalibrated(sample: Sample, settings: Settings) -> bool:
    """Does the interval of the calibration slope, of the called class with more than two, leave 1 outside?"""
    predicted, observed = predicted_and_observed(sample)
    called = from_positive(sample, observed == 1, predicted, ("wrong", "right"))
    slope = estimate_metrics(called, {"slope": METRICS.get("calibration_slope")}, settings)["slope"]
    return slope.low is not None and not slope.low <= 1 <= slope.high
