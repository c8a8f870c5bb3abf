"""Which labels may be wrong: those that stand against a confident prediction by a model that never saw the patient.

Confident learning's rule (Northcutt et al., Journal of Artificial Intelligence Research 2021;70:1373-1411): a row is
suspect if its probability of another class is at least as high as is usual among the rows labeled so, and higher than
of its own. Rows are ranked by how far the other class leads.

There is no verdict. How many contradictions are too many depends on the last digit of the calibration: a test against
the model's own probabilities raised false alarms after temperature scaling, and missed planted errors.
"""

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT
from pipeline.evaluation.audits.finding import AuditFinding, not_assessed
from pipeline.evaluation.predictions import class_names, prob_columns
from pipeline.evaluation.sample import Array
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

SUGGESTED, LEAD, SUSPECT = "suggested", "lead", "is_suspect"
COLUMNS = (SCAN_ID, PATIENT_ID, SPLIT, LABEL, SUGGESTED, LEAD, SUSPECT)
"""Of the ranked table; patients have no scan_id."""


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


def audit_label_quality(rows: pd.DataFrame) -> AuditFinding:
    """How many labels are contradicted; never an alarm, since no table tells wrong labels from overconfidence."""
    names, probs, labels = arrays_of(rows)
    fewest = np.bincount(labels, minlength=len(names)).min()
    if fewest < FEWEST_PATIENTS:
        return not_assessed(f"{fewest} rows of a class, this takes {FEWEST_PATIENTS}")
    found = int(suspects(probs, labels).sum())
    summary = (
        f"{found} of {len(rows)} labels stand against a confident prediction. They are ranked, without a verdict: "
        "wrong labels and an overconfident model look alike. Look at the first of the list."
    )
    metrics = {"num_rows": len(rows), "num_suspect": found}
    return AuditFinding("labels ranked", None, summary, metrics, reason="the ranking raises no alarm")


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
