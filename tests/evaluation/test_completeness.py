"""Failed scans in the denominator, against counts worked by hand and simulated studies."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.completeness import intended_entry, participant_flow, with_intended
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Entry
from pipeline.evaluation.uncertainty.shares import estimate_share

CLASSES = ("well", "ill")


def scans(patients, label: str, per_patient: int = 1) -> pd.DataFrame:
    rows = [(f"{patient}-{scan}", patient, label) for patient in patients for scan in range(per_patient)]
    return pd.DataFrame(rows, columns=["scan_id", "patient_id", "label"])


def entry(value: float, low: float, high: float) -> Entry:
    return Entry(value=value, low=low, high=high, num_patients=40, reason=None)


ENTRIES = {"sensitivity": entry(0.8, 0.6, 0.9), "specificity": entry(0.9, 0.8, 0.95), "accuracy": entry(0.86, 0.7, 0.9)}
COHORT = pd.concat([scans([f"w{n}" for n in range(60)], "well", 2), scans([f"i{n}" for n in range(45)], "ill")])
FAILED = pd.concat([scans([f"x{n}" for n in range(15)], "ill", 2), scans(["w0"], "well")]).assign(code="NII-EMPTY")


def found(level: str) -> dict[str, Entry]:
    return intended(ENTRIES, COHORT, FAILED, CLASSES)[level]


def intended(entries, cohort, failed, classes, task: str = "auto") -> dict[str, dict[str, Entry]]:
    metrics = {"test": {"scan": entries, "patient": entries}}
    return with_intended(metrics, cohort, {"excluded": failed.to_dict("records")}, classes, Settings(task=task))["test"]


def test_who_has_no_usable_scan_counts_as_wrong_in_the_share_of_the_cohort():
    of_patients, of_scans = found("patient"), found("scan")
    # Of 60 ill patients 15 have no usable scan; a well one has another.
    assert of_patients["intended_sensitivity"]["value"] == pytest.approx(0.8 * 45 / 60)
    assert of_patients["intended_specificity"]["value"] == pytest.approx(0.9)
    assert of_patients["intended_accuracy"]["value"] == pytest.approx(0.86 * 105 / 120)
    assert of_scans["intended_sensitivity"]["value"] == pytest.approx(0.8 * 45 / 75)
    assert of_scans["intended_specificity"]["value"] == pytest.approx(0.9 * 120 / 121)


def test_the_share_without_a_result_is_reported_by_class():
    shares = found("patient")
    values = [shares[name]["value"] for name in ("usable_share", "usable_share_well", "usable_share_ill")]
    assert values == pytest.approx([105 / 120, 1, 45 / 60])
    assert shares["usable_share_well"]["low"] < 1 and shares["usable_share_ill"]["num_patients"] == 60


def test_several_labels_count_the_failed_scans_with_and_without_each():
    cohort = pd.concat([scans(map(str, range(30)), "cyst;mass"), scans(map(str, range(30, 50)), "none")])
    failed = scans(map(str, range(50, 60)), "mass")
    entries = {f"{name}_cyst": entry(0.5, 0.4, 0.6) for name in ("sensitivity", "specificity")}
    found = intended(entries, cohort, failed, ("cyst", "mass"), "multilabel")["patient"]
    assert found["intended_sensitivity_cyst"]["value"] == pytest.approx(0.5)
    assert found["intended_specificity_cyst"]["value"] == pytest.approx(0.5 * 20 / 30)
    assert found["usable_share_mass"]["value"] == pytest.approx(30 / 40)


def test_excluded_scans_without_labels_leave_a_reason():
    entries = intended(ENTRIES, COHORT, FAILED.drop(columns="label"), CLASSES)["patient"]
    new = [entries[name] for name in entries if name not in ENTRIES]
    assert len(new) == 6 and all(each["value"] is None and "dvc repro ingest" in each["reason"] for each in new)


def test_its_interval_holds_the_truth_where_both_shares_are_estimated():
    rng, numbers, held = np.random.default_rng(0), np.arange(200), 0
    for _ in range(1000):
        usable = estimate_share(rng.random(200) < 0.85, numbers >= 0, numbers, 0.95)
        tested = estimate_share(rng.random(200) < 0.8, numbers < 40, numbers, 0.95)
        product = intended_entry(entry(tested.value, tested.low, tested.high), usable)
        held += product["low"] <= 0.8 * 0.85 <= product["high"]
    assert 0.93 <= held / 1000 <= 0.975


def test_the_flow_counts_failed_scans_of_divided_patients_and_those_never_divided():
    splits = COHORT.assign(
        split=["test" if patient in ("w0", "i1") else "development" for patient in COHORT["patient_id"]]
    )
    ingest = {"flow": [{"step": "rows in the label table", "scans": 196, "patients": 120}]}
    ingest["excluded"] = FAILED.to_dict("records")
    predictions = splits[splits["split"] == "test"]
    flow = participant_flow(ingest, splits, predictions)
    rows = {(row.step, row.split): (row.scans, row.patients) for row in flow.itertuples()}
    assert rows["excluded: patients without any usable scan", ""] == (30, 15)
    assert rows["divided", "test"] == rows["evaluated", "test"] == (3, 2)
    assert rows["excluded: other scans of these patients", "test"] == (1, 1)
    assert rows["rows in the label table", ""] == (196, 120)
