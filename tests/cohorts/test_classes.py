"""Labels against the classes that the config declares, or that they make by themselves."""

import json

import pytest

from pipeline.cohorts.ingest import ingest_cohort
from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Cohort
from tests.cohorts.eight_scans import HEADER, ROWS, changed, cohort, write_table


def test_excluding_never_hides_that_a_class_became_too_small(paths):
    for number in (4, 5):
        (paths.raw / f"scans/{number:03}.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"1 patient with 'ill'.*TAB-CLASS-SMALL"):
        ingest_cohort(cohort(ingest={"on_bad_scan": "exclude"}), paths)


@pytest.mark.parametrize(
    ("changes", "label", "code", "words"),
    [
        ({"positive_class": None}, "ill", "TAB-POSITIVE", "expected 'fit' or 'ill'"),
        ({"positive_class": "fitt"}, "ill", "TAB-POSITIVE", "Did you mean 'fit'"),
        ({"classes": ["fit", "ill"]}, "il", "TAB-LABEL-UNKNOWN", "'il' (Did you mean 'ill'?)"),
        ({"classes": ["fit", "ill", "sick"]}, "ill", "TAB-POSITIVE", "'fit' for 3 classes"),
        ({"classes": ["ill", "fit", "sad"], "positive_class": None}, "ill", "TAB-CLASS-SMALL", "0 patients with 'sad'"),
        ({"positive_class": None}, "odd", "TAB-CLASS-SMALL", "1 patient with 'odd'"),
        ({"positive_class": None}, "fit;ill", "TAB-CLASS-NAME", "'fit;ill'"),
    ],
)
def test_labels_that_do_not_fit_the_classes_are_rejected(paths, changes, label, code, words):
    write_table(paths, changed(7, label=label))
    with pytest.raises(ValueError) as caught:
        ingest_cohort(cohort(**changes), paths)
    assert f"[{code}]" in str(caught.value) and words in str(caught.value)


def test_single_class_is_rejected(paths):
    write_table(paths, [HEADER, *ROWS[:4]])
    with pytest.raises(ValueError, match=r"'fit' alone.*TAB-LABEL-SINGLE"):
        ingest_cohort(cohort(), paths)


def test_classes_keep_their_declared_order(paths):
    write_table(paths, [HEADER, *([*row[:3], "abc"[number % 3]] for number, row in enumerate(ROWS))])
    ingest_cohort(cohort(classes=["c", "a", "b"], positive_class=None), paths)
    assert json.loads(paths.ingest.read_text())["classes"] == ["c", "a", "b"]


def several(**changes) -> Cohort:
    return cohort(task="multilabel", positive_class=None, **changes)


def test_labels_of_several_classes_are_kept_and_each_class_is_checked(paths):
    labels = ["a;b", "none", "b", "a", "b;a", "none", "a", "b"]
    write_table(paths, [HEADER, *([*row[:3], label] for row, label in zip(ROWS, labels, strict=True))])
    ingest_cohort(several(), paths)
    assert read_cohort(paths.cohort)["label"].tolist() == labels
    assert json.loads(paths.ingest.read_text())["classes"] == ["a", "b"]
    with pytest.raises(ValueError, match="'b'.*TAB-LABEL-UNKNOWN"):
        ingest_cohort(several(classes=("a", "c")), paths)
    write_table(paths, changed(0, label="fit;rare"))
    with pytest.raises(ValueError, match="1 patient with 'rare'"):
        ingest_cohort(several(), paths)
