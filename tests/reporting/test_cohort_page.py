"""The cohort's page: figures against hand-made ones, and what a reader must not miss."""

import base64
import re
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from pipeline.config import Cohort, Columns
from pipeline.reporting.cohort_page import cohort_html
from pipeline.reporting.inputs import CohortFacts
from pipeline.reporting.sample_slices import SCANS_A_CLASS
from pipeline.reporting.sections.cohort import covariate_table, flow, split_table, standardised_difference
from pipeline.reporting.sections.flow_diagram import flow_diagram
from pipeline.store.store import Store
from tests.reporting.pages_made import NASTY, read, words

COLUMNS = Columns(clinical=("age", "sex"), site="site")
LEAK = {"code": "same-file-1a2b3c4d", "message": "same file: s1 (p1, test), s9 (p9, development fold 2)"}


def make_facts(**changes) -> CohortFacts:
    """Twelve patients with two scans each; every third is ill, older and male, and the last three are the test set."""
    patients = np.repeat(np.arange(12), 2)
    ill = patients % 3 == 0
    table = pd.DataFrame({"scan_id": [f"s{row}" for row in range(24)], "patient_id": [f"p{n}" for n in patients]})
    table["label"] = np.where(ill, "disease", "healthy")
    table["age"] = np.where(patients == 1, "", (40 + patients + 20 * ill).astype(str))
    table["sex"] = np.where(ill, "m", np.where(patients % 2, "m", "f"))
    table["site"] = "north"
    splits = table[["scan_id", "patient_id", "label"]].assign(split=np.where(patients < 9, "development", "test"))
    splits["fold"] = np.where(patients < 9, (patients % 3).astype(str), "")
    flow = [
        {"step": "rows in the label table", "scans": 26, "patients": 13},
        {"step": "excluded: TRUNCATED", "scans": 2, "patients": 1},
        {"step": "scans in the cohort", "scans": 24, "patients": 12},
    ]
    known = {
        "table": table,
        "splits": splits,
        "ingest": {"classes": ["healthy", "disease"], "problems": [], "flow": flow},
        "leakage": {"verdict": "clean", "findings": []},
        "plan": {"orientation": "SPL", "spacing_mm": [2.0, 1.0, 1.0]},
    }
    return CohortFacts(**(known | changes))


def page(facts: CohortFacts, folder) -> str:
    source = {"kind": "phantom"}
    cohort = Cohort(name="made", source=source, columns=COLUMNS, modality="MR", laterality="relevant")
    return cohort_html(facts, cohort, Store(folder))


@pytest.fixture
def store(tmp_path) -> Store:
    """Scans of a 4 mm block, whose brightness rises from left to right."""
    store = Store(tmp_path)
    volume = np.tile(np.linspace(0, 1, 12, dtype=np.float32), (6, 8, 1))
    for row in range(24):
        store.write(f"s{row}", volume[None], np.eye(4), source_sha256="a", plan_sha256="b", code_sha256="c")
    return store


def test_counts_flow_splits_and_missing_values_are_there(tmp_path):
    text = words(page(make_facts(), tmp_path))
    assert "Patients 12" in text and "Scans 24" in text and "disease 4 patients, 33%" in text
    for station in ("26 scans, 13 patients", "excluded: TRUNCATED", "18 scans, 9 patients", "6 scans, 3 patients"):
        assert station in text
    assert "locked test set 2 (4) 1 (2)" in text
    assert "age 2 8%" in text and "label 0 0%" in text


def rows_of_parts(facts: CohortFacts) -> dict[str, list[str]]:
    return {part: cells for part, *cells in split_table(facts).rows}


def test_several_labels_are_counted_by_membership_with_none(store):
    """Patients 0, 3, 6, 9 are ill; of the others the even ones have both, the odd ones nothing."""
    facts = make_facts()
    patients = np.repeat(np.arange(12), 2)
    label = np.where(patients % 3 == 0, "disease", np.where(patients % 2, "none", "disease;oedema"))
    facts = make_facts(
        table=facts.table.assign(label=label),
        splits=facts.splits.assign(label=label),
        ingest=facts.ingest | {"task": "multilabel", "classes": ["disease", "oedema"]},
    )
    text = words(page(facts, store.folder))
    assert "disease 8 patients, 67%" in text and "oedema 4 patients, 33%" in text and "none 4 patients, 33%" in text
    assert rows_of_parts(facts)["locked test set"] == ["2 (4)", "1 (2)", "1 (2)"]
    assert "oedema: the middle axial slice" in text and "none: the middle axial slice" in text


def test_a_nested_division_shows_its_parts_and_its_scans(store):
    splits = make_facts().splits.assign(split="nested", fold=(np.repeat(np.arange(12), 2) % 11).astype(str))
    facts = make_facts(splits=splits)
    assert list(rows_of_parts(facts)) == [f"part {number}" for number in range(11)]
    assert rows_of_parts(facts)["part 0"] == ["1 (2)", "1 (2)"]
    text = words(page(facts, store.folder))
    assert "healthy: the middle axial slice" in text and "is test in turn" in text
    assert "Covariates by class" in text and "Covariates by split" not in text


def test_every_fold_of_repeated_divisions_is_shown_by_its_number():
    splits = make_facts().splits
    develops = splits["fold"] != ""
    splits["fold_1"] = np.where(develops, (np.repeat(np.arange(12), 2) % 9 + 3).astype(str), "")
    named = rows_of_parts(make_facts(splits=splits))
    assert list(named) == [*(f"fold {number}" for number in range(12)), "locked test set"]
    assert named["fold 3"] == ["0", "1 (2)"] and named["fold 11"] == ["1 (2)", "0"]


def test_covariates_are_compared_by_class_and_by_split(tmp_path):
    text = words(page(make_facts(), tmp_path))
    ages = {"healthy": [42, 44, 45, 47, 48, 50, 51], "disease": [60, 63, 66, 69]}
    spread = np.sqrt(np.mean([np.var(values, ddof=1) for values in ages.values()]))
    assert f"age 47 (44.5 to 49) 64.5 (62.25 to 66.75) {(64.5 - np.mean(ages['healthy'])) / spread:.2f} △" in text
    assert "age: missing 1 (12%) 0 (0%) 0.53 △" in text
    assert "sex: m 50% 100% 1.41 △" in text and "site: north 100% 100% 0.00" in text
    assert "development (n = 9) locked test set (n = 3)" in text


def test_a_standardised_difference_is_one_for_groups_a_standard_deviation_apart():
    rng = np.random.default_rng(0)
    first = pd.Series(rng.normal(0, 2, 40_000))
    assert standardised_difference(first, first + 2) == pytest.approx(1, abs=0.01)
    assert standardised_difference(1000 * first, 1000 * first + 2000) == pytest.approx(1, abs=0.01)
    claims = [pd.Series(rng.random(40_000) < share) for share in (0.3, 0.5)]
    assert standardised_difference(*claims) == pytest.approx(0.2 / np.sqrt((0.21 + 0.25) / 2), abs=0.03)


def test_a_number_with_gaps_stays_a_number_and_three_groups_show_their_widest_gap():
    patients = pd.DataFrame({"age": [*map(str, range(20)), *[""] * 10]})
    groups = pd.Series(np.repeat(["a", "b", "c"], 10))
    rows = covariate_table(patients, ["age"], groups, ["a", "b", "c"], of="site").rows
    assert [row[0] for row in rows] == ["age", "age: missing"]
    assert rows[0][3] == "—" and float(rows[0][4].split()[0]) == pytest.approx(10 / np.std(range(10), ddof=1), abs=0.01)


@pytest.mark.parametrize(("accepted", "said"), [(True, "△ Caution: Accepted leak"), (False, "✗ Warning: Open leak")])
def test_a_leak_is_stamped_with_its_code(tmp_path, accepted, said):
    finding = {**LEAK, "across_splits": True, "accepted": accepted}
    leakage = {"verdict": "accepted" if accepted else "leaks", "findings": [finding]}
    text = words(page(make_facts(leakage=leakage), tmp_path))
    assert f"{said} {LEAK['code']}: {LEAK['message']}." in text


def test_sample_slices_are_of_development_scans_and_keep_left_on_the_left(store):
    html = page(make_facts(), store.folder)
    captions = re.findall(r"<figcaption>(\w+): the middle axial slice of ([^.]*)\.", html)
    assert [label for label, _ in captions] == ["healthy", "disease"]
    scans = [scan for _, named in captions for scan in named.split(", ")]
    assert len(scans) == len(set(scans)) == SCANS_A_CLASS + 3
    assert all(int(scan[1:]) < 18 for scan in scans)
    picture = imread(BytesIO(base64.b64decode(html.split("data:image/png;base64,")[1].split('"')[0])))
    grey = picture[picture.shape[0] // 2, : picture.shape[1] // SCANS_A_CLASS, 0]
    inside = grey[np.flatnonzero(grey < 0.5).min() :]
    assert inside[0] < 0.2 and inside[: len(inside) // 2].mean() < inside[len(inside) // 3 :].mean()


def test_the_flow_runs_down_and_losses_stand_aside():
    facts = make_facts()
    drawing = flow_diagram(flow(facts))
    first, loss, rest, development, test = drawing.boxes
    assert first.bottom < loss.y and loss.bottom < rest.y and rest.bottom < development.y == test.y
    assert loss.x > first.x + first.width and test.x > development.x + development.width
    assert all(box.x + box.width < drawing.width and box.bottom < drawing.height for box in drawing.boxes)
    assert flow_diagram([]) is None


def test_the_page_needs_nothing_else_escapes_data_and_says_what_is_missing(tmp_path, store):
    table = make_facts().table.assign(site=NASTY)
    html = page(make_facts(table=table), store.folder)
    assert "<script" not in html and NASTY in words(html)
    assert all(link.startswith(("#", "data:")) or link == "index.html" for link in read(html).links)
    empty = CohortFacts(table=None, ingest=None, splits=None, leakage=None, plan=None)
    for verb in ("ingest", "split", "preprocess"):
        assert f"'python -m pipeline.{verb}'" in words(page(empty, tmp_path / "nowhere"))
