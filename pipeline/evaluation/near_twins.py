"""Test patients with a near twin in training, and the figures of those without one.

A test scan that shows the content of a development scan measures recognition. Leaks across the split stop the pipeline
until they are accepted; `leakage.json` then says which scans they are.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from pipeline.core.columns import DEVELOPMENT, FOLD, NESTED, PATIENT_ID, SCAN_ID, SPLIT, TEST
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.outputs import evaluate_task
from pipeline.evaluation.registry import WITHOUT_TWINS
from pipeline.evaluation.uncertainty.estimates import Entry
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

SHOWN = (
    *("auroc", "average_precision", "accuracy", "sensitivity", "specificity", "exact_match"),
    *("brier_score", "brier_skill_score", "observed_expected_ratio", "calibration_slope"),
)
USED_ELSEWHERE = ("pretraining", "statistics")
"""Kinds of findings about patients who were seen before, whose scans have no twin."""


def patients_with_twins(leakage: Mapping[str, Any], splits: pd.DataFrame) -> set[str]:
    """Patients who are tested, and share a finding of leakage.json with a scan that a model of theirs trains on."""
    found: set[str] = set()
    for finding in leakage["findings"]:
        if finding["across_splits"] and finding["kind"] not in USED_ELSEWHERE:
            scans = splits[splits[SCAN_ID].isin(finding["scans"])]
            if (scans[SPLIT] == DEVELOPMENT).any():
                found |= set(scans[PATIENT_ID][scans[SPLIT] == TEST])
            elif scans[FOLD].nunique() > 1:
                found |= set(scans[PATIENT_ID][scans[SPLIT] == NESTED])
    return found


def with_figures_without_twins(evaluation: Evaluation, predictions: pd.DataFrame, twins: set[str]) -> Evaluation:
    """The evaluation with `without_twins_<metric>` in test, null with a reason where there is nothing to compare."""
    if TEST not in evaluation.metrics:
        return evaluation
    tested = set(predictions[PATIENT_ID][predictions[SPLIT] == TEST])
    left = len(tested - twins)
    if not tested & twins:
        other = f"no near twin of the {len(tested)} test patients is in training"
    elif left < FEWEST_PATIENTS:
        other = f"{left} of {len(tested)} test patients have no near twin in training, expected {FEWEST_PATIENTS}"
    else:
        kept = predictions[(predictions[SPLIT] != TEST) | ~predictions[PATIENT_ID].isin(twins)]
        # Thresholds and calibrations come from validation, which stays as it is.
        other = evaluate_task(kept, evaluation.settings).metrics[TEST]
    levels = {
        level: entries | entries_without_twins(entries, other if isinstance(other, str) else other[level], left)
        for level, entries in evaluation.metrics[TEST].items()
    }
    return replace(evaluation, metrics=evaluation.metrics | {TEST: levels})


def entries_without_twins(
    whole: Mapping[str, Entry], other: Mapping[str, Entry] | str, num_patients: int
) -> dict[str, Entry]:
    """`whole` are the entries of all test patients, `other` those of patients without a twin, or why there are none."""
    names = [name for name in SHOWN if name in whole]
    if isinstance(other, str):
        empty = Entry(value=None, low=None, high=None, num_patients=num_patients, reason=other)
        return {WITHOUT_TWINS + name: empty for name in names}
    return {WITHOUT_TWINS + name: other[name] for name in names}
