import pandas as pd

from pipeline.core.counts import format_classes, format_cohort, format_splits, plural

TABLE = pd.DataFrame(
    {
        "patient_id": ["a", "a", "b"],
        "label": ["cyst;tumor", "tumor", "none"],
        "split": ["development", "development", "test"],
    }
)


def test_scans_patients_and_classes_are_counted() -> None:
    assert format_cohort(TABLE) == "3 scans of 2 patients (cyst 1, none 1, tumor 2)"
    assert format_splits(TABLE) == "development 2 scans of 1 patient, test 1 scan of 1 patient"


def test_many_classes_are_only_counted() -> None:
    assert format_classes(pd.DataFrame({"label": [str(number) for number in range(9)]})) == "9 classes"


def test_one_thing_has_no_plural() -> None:
    assert (plural(1, "scan"), plural(0, "scan"), plural(1200, "scan")) == ("1 scan", "0 scans", "1,200 scans")
