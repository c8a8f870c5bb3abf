import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.breakdowns.subgroups import judge_subgroups
from pipeline.evaluation.breakdowns.unseen_sites import SEEN, site_is_unseen
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.background import Background


def background(test_sites: list[str]) -> Background:
    """Forty development patients of north (fold 0) and south (fold 1), and test patients of the given sites."""
    ids = [f"p{row}" for row in range(40 + len(test_sites))]
    sites = ["north", "south"] * 20 + test_sites
    splits = pd.DataFrame(
        {
            "patient_id": ids,
            "split": ["development"] * 40 + ["test"] * len(test_sites),
            "fold": ["0", "1"] * 20 + [""] * len(test_sites),
        }
    )
    cohort = pd.DataFrame({"patient_id": ids, "site": sites})
    return Background(cohort, splits, acquisition=("site",), site="site")


def test_a_test_patient_is_unseen_where_no_development_patient_has_the_site():
    known = background(["north", "west", "south", "west"])
    rows = pd.DataFrame({"patient_id": ["p40", "p41", "p42", "p43"], "split": "test", "fold": -1})
    assert site_is_unseen(rows, known).tolist() == [False, True, False, True]


def test_a_validation_patient_is_unseen_where_its_fold_holds_the_whole_site():
    rows = pd.DataFrame({"patient_id": ["p0", "p1"], "split": "val", "fold": [0, 1]})
    assert site_is_unseen(rows, background([])).all()
    elsewhere = rows.assign(fold=[1, 0])
    assert site_is_unseen(elsewhere, background([])) is None


def test_in_a_nested_division_a_patient_is_unseen_where_no_other_part_has_the_site():
    known = background([])
    known.splits["split"] = "nested"
    rows = pd.DataFrame({"patient_id": ["p0", "p2"], "split": "test", "fold": -1})
    assert site_is_unseen(rows, known).all()
    known.splits.loc[4, "fold"] = "1"
    assert site_is_unseen(rows, known) is None


def test_unseen_sites_are_a_group_with_its_own_figure(make_sample):
    sites = ["west" if row % 3 == 0 else "north" for row in range(90)]
    known = background(sites)
    ids = np.array([f"p{40 + row}" for row in range(90)])
    sample = make_sample(rows=90)
    one_each = type(sample)(sample.labels, sample.probs, np.arange(90), sample.folds, sample.class_names)
    rows = pd.DataFrame({"patient_id": ids, "split": "test", "fold": -1})
    found = judge_subgroups(one_each, rows, known, Settings()).set_index(["covariate", "group"])
    assert found.loc[(SEEN, "no"), "num_patients"] == 30
    assert found.loc[(SEEN, "no"), "auroc"] == pytest.approx(found.loc[("site", "west"), "auroc"])


def test_intersections_are_groups_on_request_and_unknown_ones_are_refused(make_sample):
    sample = make_sample(rows=160)
    patients = sample.num_patients
    ids = [f"p{row}" for row in range(patients)]
    cohort = pd.DataFrame({"patient_id": ids, "sex": ["F", "F", "M", "M"] * (patients // 4) + ["F"] * (patients % 4)})
    cohort["site"] = np.where(np.arange(patients) % 2, "north", "south")
    known = Background(cohort, clinical=("sex",), acquisition=("site",))
    rows = pd.DataFrame({"patient_id": [ids[patient] for patient in sample.patients], "split": "test", "fold": 0})
    found = judge_subgroups(sample, rows, known, Settings(intersections=(("sex", "site"),)))
    both = found[found["covariate"] == "sex and site"]
    assert set(both["group"]) == {"F, north", "F, south", "M, north", "M, south"}
    assert both["num_patients"].sum() == patients
    with pytest.raises(ValueError, match="'sexx' is no covariate. Did you mean 'sex'"):
        judge_subgroups(sample, rows, known, Settings(intersections=(("sexx", "site"),)))
