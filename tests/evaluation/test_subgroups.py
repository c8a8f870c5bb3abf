from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.subgroups import SEEN, evaluate_subgroups, site_is_unseen


def covariates(test_sites: list[str]) -> Covariates:
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
    return Covariates(cohort, splits, acquisition=("site",), site="site")


def test_a_test_patient_is_unseen_where_no_development_patient_has_the_site():
    known = covariates(["north", "west", "south", "west"])
    rows = pd.DataFrame({"patient_id": ["p40", "p41", "p42", "p43"], "split": "test", "fold": -1})
    assert site_is_unseen(rows, known).tolist() == [False, True, False, True]


def test_a_validation_patient_is_unseen_where_its_fold_holds_the_whole_site():
    rows = pd.DataFrame({"patient_id": ["p0", "p1"], "split": "val", "fold": [0, 1]})
    assert site_is_unseen(rows, covariates([])).all()
    elsewhere = rows.assign(fold=[1, 0])
    assert site_is_unseen(elsewhere, covariates([])) is None


def test_in_a_nested_division_a_patient_is_unseen_where_no_other_part_has_the_site():
    known = covariates([])
    known.splits["split"] = "nested"
    rows = pd.DataFrame({"patient_id": ["p0", "p2"], "split": "test", "fold": -1})
    assert site_is_unseen(rows, known).all()
    known.splits.loc[4, "fold"] = "1"
    assert site_is_unseen(rows, known) is None


def test_unseen_sites_are_a_group_with_its_own_figure(make_sample):
    sites = ["west" if row % 3 == 0 else "north" for row in range(90)]
    known = covariates(sites)
    ids = np.array([f"p{40 + row}" for row in range(90)])
    sample = make_sample(rows=90)
    one_each = type(sample)(sample.labels, sample.probs, np.arange(90), sample.folds, sample.class_names)
    rows = pd.DataFrame({"patient_id": ids, "split": "test", "fold": -1})
    found = evaluate_subgroups(one_each, rows, known, Settings()).set_index(["covariate", "group"])
    assert found.loc[(SEEN, "no"), "num_patients"] == 30
    assert found.loc[(SEEN, "no"), "auroc"] == pytest.approx(found.loc[("site", "west"), "auroc"])


def test_intersections_are_groups_on_request_and_unknown_ones_are_refused(make_sample):
    sample = make_sample(rows=160)
    patients = sample.num_patients
    ids = [f"p{row}" for row in range(patients)]
    cohort = pd.DataFrame({"patient_id": ids, "sex": ["F", "F", "M", "M"] * (patients // 4) + ["F"] * (patients % 4)})
    cohort["site"] = np.where(np.arange(patients) % 2, "north", "south")
    known = Covariates(cohort, clinical=("sex",), acquisition=("site",))
    rows = pd.DataFrame({"patient_id": [ids[patient] for patient in sample.patients], "split": "test", "fold": 0})
    found = evaluate_subgroups(sample, rows, known, Settings(intersections=(("sex", "site"),)))
    both = found[found["covariate"] == "sex and site"]
    assert set(both["group"]) == {"F, north", "F, south", "M, north", "M, south"}
    assert both["num_patients"].sum() == patients
    with pytest.raises(ValueError, match="'sexx' is not a covariate. Did you mean 'sex'"):
        evaluate_subgroups(sample, rows, known, Settings(intersections=(("sexx", "site"),)))


def made(signals: dict[str, float], patients: int = 80, seed: int = 0) -> tuple[Sample, pd.DataFrame, pd.DataFrame]:
    """Patients of several sites; the model's signal depends on the site."""
    rng = np.random.default_rng(seed)
    sites = np.resize(np.array(list(signals)), patients * len(signals))
    labels = rng.permutation(np.arange(len(sites)) % 2)
    logits = rng.normal(size=len(sites)) + np.array([signals[site] for site in sites]) * (labels - 0.5)
    probs = 1 / (1 + np.exp(-logits))
    rows = np.arange(len(sites))
    ids = [f"p{row}" for row in rows]
    cohort = pd.DataFrame({"patient_id": ids, "site": sites, "age": rng.integers(20, 90, len(rows)).astype(str)})
    sample = Sample(labels, np.stack([1 - probs, probs], 1), rows, rows * 0, ("a", "b"))
    return sample, pd.DataFrame({"patient_id": ids}), cohort


def judge(sample: Sample, rows: pd.DataFrame, cohort: pd.DataFrame, *covariates: str) -> pd.DataFrame:
    return evaluate_subgroups(sample, rows, Covariates(cohort, clinical=covariates), Settings())


def test_each_group_has_the_auroc_of_its_own_patients():
    sample, rows, cohort = made({"north": 1.0, "south": 2.0})
    found = judge(sample, rows, cohort.sample(frac=1, random_state=0), "site").set_index("group")
    for site in ("north", "south"):
        here = (cohort["site"] == site).to_numpy()
        assert found.loc[site, "auroc"] == pytest.approx(roc_auc_score(sample.labels[here], sample.probs[here, 1]))
        assert found.loc[site, "low"] < found.loc[site, "auroc"] < found.loc[site, "high"]


def test_a_site_where_the_model_fails_is_found():
    sample, rows, cohort = made({"north": 3.0, "south": 0.0})
    found = judge(sample, rows, cohort, "site", "age").set_index("covariate")
    assert (found.loc["site", "adjusted_p_value"] < 0.001).all()
    assert (found.loc["age", "adjusted_p_value"] > 0.05).all()


def test_numbers_are_halved_at_the_median():
    sample, rows, cohort = made({"north": 1.0})
    cohort["age"] = np.arange(80).astype(str)
    found = judge(sample, rows, cohort, "age")
    assert found["group"].tolist() == ["up to 39.5", "over 39.5"]
    assert found["num_patients"].tolist() == [40, 40]


def test_a_small_group_has_no_figure_but_a_reason():
    sample, rows, cohort = made({"north": 1.0}, patients=60)
    cohort.loc[:5, "site"] = "tiny"
    found = judge(sample, rows, cohort, "site").set_index("group")
    assert pd.isna(found.loc["tiny", "auroc"])
    assert "needs 10" in found.loc["tiny", "reason"]
    assert pd.isna(found.loc["north", "p_value"])


def test_a_group_with_a_single_patient_of_a_class_in_a_fold_says_so():
    sample, rows, cohort = made({"north": 1.0})
    alone = (sample.labels == 0) & (np.arange(80) < 30)
    alone[np.flatnonzero(sample.labels == 1)[0]] = True
    found = judge(replace(sample, folds=alone.astype(int)), rows, cohort, "site").iloc[0]
    assert found["auroc"] > 0 and pd.isna(found["low"])
    assert "a fold has a single patient of a class" in found["reason"]


def test_missing_values_are_no_group_and_a_covariate_without_groups_says_why():
    sample, rows, cohort = made({"north": 1.0})
    cohort.loc[:9, "site"] = ""
    cohort["note"] = [f"note {row}" for row in range(len(cohort))]
    found = judge(sample, rows, cohort, "site", "note")
    groups = found[["covariate", "group", "num_patients"]].to_numpy().tolist()
    assert groups == [["site", "north", 70], ["note", "all", 80]]
    assert found["reason"].iloc[1] == "no value has 20 patients, or none is known"


@pytest.mark.parametrize("prefix", ["scanner ", ""])
def test_of_many_scanners_the_common_ones_are_groups_and_the_rest_one(prefix):
    """Also where scanners are numbers, which are codes: no half of the scanners is a kind of patient."""
    sample, rows, cohort = made({"north": 1.0}, patients=100)
    numbers = np.concatenate([np.repeat([1, 2], 30), np.repeat(np.arange(3, 11), 5)])
    cohort["scanner"] = [f"{prefix}{number}" for number in numbers]
    found = evaluate_subgroups(sample, rows, Covariates(cohort, acquisition=("scanner",)), Settings())
    assert dict(zip(found["group"], found["num_patients"], strict=True)) == {
        f"{prefix}1": 30,
        f"{prefix}2": 30,
        "other": 40,
    }


@pytest.mark.slow
def test_equal_groups_are_told_apart_in_about_five_percent():
    alarms = [
        judge(*made({"a": 1.5, "b": 1.5, "c": 1.5}, seed=seed), "site")["p_value"].iloc[0] < 0.05 for seed in range(250)
    ]
    # 250 draws at 5 % leave 1.6 % to 8.8 % in 99 of 100 times.
    assert 0.016 <= np.mean(alarms) <= 0.088


def test_an_unknown_covariate_suggests_the_nearest():
    _, _, cohort = made({"north": 1.0})
    with pytest.raises(ValueError, match="no column 'sit'. Did you mean 'site'"):
        Covariates(cohort, clinical=("sit",))


def test_each_group_has_the_rates_and_the_calibration_of_its_own_patients():
    sample, rows, cohort = made({"north": 1.0, "south": 2.0})
    sample = replace(sample, threshold=0.4)
    found = judge(sample, rows, cohort, "site").set_index("group")
    for site in ("north", "south"):
        here = (cohort["site"] == site).to_numpy()
        labels, probs = sample.labels[here], sample.probs[here, 1]
        assert found.loc[site, "sensitivity"] == pytest.approx((probs[labels == 1] >= 0.4).mean())
        assert found.loc[site, "specificity"] == pytest.approx((probs[labels == 0] < 0.4).mean())
        shift = sm.GLM(labels, np.ones(80), sm.families.Binomial(), offset=np.log(probs / (1 - probs))).fit()
        assert found.loc[site, "calibration_intercept"] == pytest.approx(shift.params[0], abs=1e-5)
        for name in ("sensitivity", "specificity", "calibration_intercept"):
            assert found.loc[site, f"{name}_low"] < found.loc[site, name] < found.loc[site, f"{name}_high"]
    few = judge(sample, rows, cohort.assign(site=["tiny"] * 9 + ["rest"] * 151), "site").set_index("group")
    assert few.loc["tiny", "sensitivity"] >= 0 and "an interval needs 10" in few.loc["tiny", "sensitivity_reason"]


def test_p_values_are_adjusted_over_the_classes_too(make_predictions):
    """Three classes and two columns are six questions."""
    table = make_predictions(patients=150, num_classes=3)
    ids = sorted(table["patient_id"].unique())
    cohort = pd.DataFrame({"patient_id": ids, "sex": np.where(np.arange(len(ids)) % 4 < 2, "F", "M")})
    cohort["site"] = np.where(np.arange(len(ids)) % 8 < 4, "north", "south")
    covariates = Covariates(cohort, clinical=("sex", "site"))
    found = evaluate_table(table, Settings(num_bootstrap=100), covariates).subgroups.drop_duplicates("covariate")
    expected = multipletests(found["p_value"], method="holm")[1]
    assert len(found) == 6 and found["adjusted_p_value"].to_numpy() == pytest.approx(expected)
