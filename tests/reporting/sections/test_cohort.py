"""The cohort on its page: counts, flow, splits and leaks."""

import numpy as np
import pytest

from pipeline.reporting.inputs import CohortInputs
from pipeline.reporting.sections.cohort import split_table
from tests.reporting.example_pages import cohort_inputs, cohort_page, text_of

LEAK = {
    "code": "same-file-1a2b3c4d",
    "kind": "same-file",
    "message": "same file: s1 (p1, test), s9 (p9, development fold 2)",
}


def test_counts_flow_splits_and_missing_values_are_shown(tmp_path):
    text = text_of(cohort_page(cohort_inputs(), tmp_path))
    assert "Patients 12" in text and "Scans 24" in text and "disease 4 patients, 33%" in text
    for station in ("26 scans, 13 patients", "excluded: TRUNCATED", "18 scans, 9 patients", "6 scans, 3 patients"):
        assert station in text
    assert "locked test set 2 (4) 1 (2)" in text
    assert "age 2 8%" in text and "label 0 0%" in text


def rows_of_parts(cohort: CohortInputs) -> dict[str, list[str]]:
    return {part: cells for part, *cells in split_table(cohort).rows}


def test_several_labels_are_counted_by_membership_with_none(store):
    """Patients 0, 3, 6, 9 are ill; of the others the even ones have both, the odd ones nothing."""
    cohort = cohort_inputs()
    patients = np.repeat(np.arange(12), 2)
    label = np.where(patients % 3 == 0, "disease", np.where(patients % 2, "none", "disease;oedema"))
    cohort = cohort_inputs(
        table=cohort.table.assign(label=label),
        splits=cohort.splits.assign(label=label),
        ingest=cohort.ingest | {"task": "multilabel", "classes": ["disease", "oedema"]},
    )
    text = text_of(cohort_page(cohort, store.folder))
    assert "disease 8 patients, 67%" in text and "oedema 4 patients, 33%" in text and "none 4 patients, 33%" in text
    assert rows_of_parts(cohort)["locked test set"] == ["2 (4)", "1 (2)", "1 (2)"]
    assert "oedema: the middle axial slice" in text and "none: the middle axial slice" in text


def test_a_nested_split_shows_its_parts_and_its_scans(store):
    splits = cohort_inputs().splits.assign(split="nested", fold=(np.repeat(np.arange(12), 2) % 11).astype(str))
    cohort = cohort_inputs(splits=splits)
    assert list(rows_of_parts(cohort)) == [f"part {number}" for number in range(11)]
    assert rows_of_parts(cohort)["part 0"] == ["1 (2)", "1 (2)"]
    text = text_of(cohort_page(cohort, store.folder))
    assert "healthy: the middle axial slice" in text and "is the test set in turn" in text
    assert "Covariates by class" in text and "Covariates by split" not in text


def test_every_fold_of_repeated_splits_is_shown_by_its_number():
    splits = cohort_inputs().splits
    develops = splits["fold"] != ""
    splits["fold_1"] = np.where(develops, (np.repeat(np.arange(12), 2) % 9 + 3).astype(str), "")
    named = rows_of_parts(cohort_inputs(splits=splits))
    assert list(named) == [*(f"fold {number}" for number in range(12)), "locked test set"]
    assert named["fold 3"] == ["0", "1 (2)"] and named["fold 11"] == ["1 (2)", "0"]


@pytest.mark.parametrize(("accepted", "said"), [(True, "△ Caution: Accepted leak"), (False, "✗ Warning: Open leak")])
def test_a_leak_is_shown_with_its_code(tmp_path, accepted, said):
    finding = {**LEAK, "across_splits": True, "accepted": accepted}
    leakage = {"verdict": "accepted" if accepted else "leaks", "findings": [finding]}
    text = text_of(cohort_page(cohort_inputs(leakage=leakage), tmp_path))
    assert f"{said} {LEAK['code']}: {LEAK['message']}." in text


def test_many_accepted_leaks_of_a_kind_are_counted_with_their_reasons(tmp_path):
    entry = {**LEAK, "kind": "near-duplicate", "across_splits": True, "accepted": True, "reason": "the official split"}
    leakage = {"verdict": "accepted", "findings": [{**entry, "code": f"near-duplicate-{n}"} for n in range(11)]}
    text = text_of(cohort_page(cohort_inputs(leakage=leakage), tmp_path))
    assert "11 leaks of the kind near-duplicate across splits were accepted. Reason given: the official split." in text
    assert "near-duplicate-7" not in text


def test_older_scans_in_a_test_set_by_date_are_a_caution(tmp_path):
    leakage = {"verdict": "clean", "findings": [], "notes": ["3 of 9 test scans are no later than 2020-01-02"]}
    text = text_of(cohort_page(cohort_inputs(leakage=leakage), tmp_path))
    assert "Caution: 3 of 9 test scans are no later than 2020-01-02." in text
