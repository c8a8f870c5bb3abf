"""Numbers whose signs are decided or asked for, spellings of classes, and columns that tell the label."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.cohorts.ingest import ingest_cohort
from pipeline.cohorts.label_table import read_cohort
from pipeline.cohorts.values import plain_numbers, telling_columns
from pipeline.config import Cohort, Columns
from tests.cohorts.eight_scans import HEADER, ROWS, changed, cohort, write_table


@pytest.mark.parametrize(
    ("cells", "plain"),
    [
        (["61,5", "2,201"], ["61.5", "2.201"]),
        (["1,234.5", "2,201"], ["1234.5", "2201"]),
        (["1.234,5", "2.201"], ["1234.5", "2201"]),
        (["1.234.567", "12"], ["1234567", "12"]),
        (["0,123", "1"], ["0.123", "1"]),
        (["1 234,5", "1’000"], ["1234.5", "1000"]),
        (["2.201", "n/a"], ["2.201", "n/a"]),
        (["1,5 T", "3 T"], ["1,5 T", "3 T"]),
    ],
)
def test_the_sign_of_decimals_is_decided_by_the_whole_column(cells: list[str], plain: list[str]) -> None:
    table, problems = plain_numbers(pd.DataFrame({"volume": cells, "scan_id": cells}), Columns(clinical=("volume",)))
    assert (table["volume"].tolist(), table["scan_id"].tolist(), problems) == (plain, cells, [])


def test_a_sign_in_doubt_is_asked_for(paths):
    write_table(paths, [[*HEADER, "volume"], *([*row, "2,201"] for row in ROWS)])
    with pytest.raises(ValueError, match=r"2,201 in column 'volume', which may be 2.201 or 2201.*TAB-DECIMAL"):
        ingest_cohort(cohort(columns={"clinical": ["volume"]}), paths)
    for decimal, value in ((",", "2.201"), (".", "2201")):
        ingest_cohort(cohort(columns={"clinical": ["volume"], "decimal": decimal}), paths)
        assert set(read_cohort(paths.cohort)["volume"]) == {value}
    _, (problem,) = plain_numbers(pd.DataFrame({"volume": ["1,5", "1.5"]}), Columns(clinical=("volume",)))
    assert problem.code == "TAB-DECIMAL" and "both signs" in problem.found


@pytest.mark.parametrize("other", ["Ill", "ILL", "ｉｌｌ", "i ll", "ill\u200b", "ill\u00a0"])
def test_spellings_of_a_class_are_one_finding_until_they_are_mapped(paths, other):
    write_table(paths, changed(7, label=other))
    with pytest.raises(ValueError, match=r"a class in several spellings, got .*\(1 scans\).*TAB-LABEL-SPELLING"):
        ingest_cohort(cohort(), paths)
    ingest_cohort(cohort(classes={"ill": [other], "fit": []}), paths)
    assert read_cohort(paths.cohort)["label"].tolist() == [row[3] for row in ROWS]
    assert json.loads(paths.ingest.read_text())["classes"] == ["ill", "fit"]


def test_numbers_and_unicode_forms_are_spellings_too(paths):
    for name, other in (("1", "1.0"), ("1", "01"), ("1", "+1"), ("0", "00"), ("caf\u00e9", "cafe\u0301")):
        labels = [name, other, name, other, "fit", "fit", "fit", "fit"]
        write_table(paths, [HEADER, *([*row[:3], label] for row, label in zip(ROWS, labels, strict=True))])
        with pytest.raises(ValueError, match=r"\(2 scans\) and .* \(2 scans\).*TAB-LABEL-SPELLING"):
            ingest_cohort(cohort(), paths)
    ingest_cohort(cohort(classes={"caf\u00e9": [], "fit": []}), paths)
    assert set(read_cohort(paths.cohort)["label"]) == {"caf\u00e9", "fit"}


def test_a_class_may_be_called_na_if_it_is_declared(paths):
    write_table(paths, [HEADER, *([*row[:3], "NA" if row[3] == "ill" else "fit"] for row in ROWS)])
    with pytest.raises(ValueError, match="TAB-LABEL-MISSING"):
        ingest_cohort(cohort(), paths)
    ingest_cohort(cohort(classes=["NA", "fit"]), paths)
    assert read_cohort(paths.cohort)["label"].tolist() == ["fit"] * 4 + ["NA"] * 4


def test_a_spelling_of_two_classes_is_refused():
    with pytest.raises(ValueError, match="'Ill' stands for two classes"):
        cohort(classes={"ill": ["Ill"], "fit": ["Ill"]})


def test_a_column_that_tells_every_label_is_pointed_out_unless_it_is_named():
    volume = np.random.default_rng(0).normal(size=24)
    table = pd.DataFrame({"scan_id": [f"s{number}" for number in range(24)], "volume": volume, "dx": volume > 0})
    table = table.assign(patient_id=table["scan_id"], path=table["scan_id"], noise=volume[::-1], same="x")
    table = table.assign(label=np.where(volume > np.median(volume), "large", "small")).astype(str)
    assert telling_columns(table, Columns()) == ["volume"]
    assert telling_columns(table, Columns(label_source=("volume",))) == []
    # Of eight patients one column in seventy parts the classes by chance.
    assert telling_columns(table[:8], Columns()) == []
    coded = table.assign(dx=table["label"].map({"large": "D", "small": "H"}))
    assert telling_columns(coded, Columns(label_source=("volume",))) == ["dx"]


def test_ingest_warns_of_a_column_that_tells_every_label(paths):
    rows = [[f"{number:03}", f"q{number}", f"scans/{number % 8:03}.nii.gz", "ill" if number % 2 else "fit",
             str(number % 2 * 100 + number)] for number in range(20)]  # fmt: skip
    write_table(paths, [[*HEADER, "score"], *rows])
    ingest_cohort(cohort(), paths)
    codes = {problem["code"]: problem["message"] for problem in json.loads(paths.ingest.read_text())["problems"]}
    assert "'score'" in codes["TAB-TELLS-LABEL"] and "label_source" in codes["TAB-TELLS-LABEL"]


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_an_infinite_number_is_refused_and_a_word_is_a_word(paths, cell):
    for others in (["5", "6"], ["old", "young"]):
        rows = [[*row, cell if number == 3 else others[number % 2]] for number, row in enumerate(ROWS)]
        write_table(paths, [[*HEADER, "age"], *rows])
        settings = cohort(columns={"clinical": ["age"]})
        if others == ["5", "6"]:
            with pytest.raises(ValueError, match=f"a number that is not finite, got {cell} in column 'age'"):
                ingest_cohort(settings, paths)
        else:
            ingest_cohort(settings, paths)


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
