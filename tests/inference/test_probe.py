"""Probes against scikit-learn's own logistic regression and AUROC, on tables that are made here."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from pipeline.core.io import write_csv
from pipeline.evaluation.settings import Settings
from pipeline.inference.embedding import Encoder, embed_cohort, write_embeddings
from pipeline.inference.feature_table import Features, labels_of, read_features
from pipeline.inference.probe import SHOTS, probe, probe_labels, results_record, results_table
from tests.inference.embedded_cohort import EmbeddedCohort

SETTINGS = Settings(num_bootstrap=200)
NUM_FEATURES = 60


def make_features(num_patients: int = 90, *, strength: float = 1.0, learned_from: dict | None = None) -> Features:
    """A scan or two a patient in three folds, ten more patients of the test set; more features than scans to fit on."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(num_patients + 10), 1 + np.arange(num_patients + 10) % 2)
    rows = pd.DataFrame({"scan_id": [f"s{k}" for k in range(len(patients))], "patient_id": patients.astype(str)})
    rows["split"] = np.where(patients < num_patients, "development", "test")
    rows["fold"] = pd.array(np.where(patients < num_patients, patients % 3, 0), dtype="Int64")
    rows.loc[rows["split"] == "test", "fold"] = pd.NA
    is_ill = patients // 3 % 2
    values = rng.normal(size=(len(rows), NUM_FEATURES)) * rng.uniform(0.1, 9, NUM_FEATURES)
    values[:, 0] += strength * is_ill * values[:, 0].std()
    origin = {"cohort": "made", "learned_from": learned_from}
    return Features(rows, values, tuple(f"feature_{k:04d}" for k in range(NUM_FEATURES)), origin)


def ill(features: Features) -> pd.Series:
    return pd.Series(np.where(features.rows["patient_id"].astype(int) // 3 % 2, "yes", "no"))


def scikit_learn_auroc(features: Features, labels: pd.Series) -> float:
    """The same study by hand: pairs of patients within each fold, pipelines fitted on the others."""
    patients = features.rows["patient_id"].to_numpy()
    wins = pairs = 0.0
    for fold in range(3):
        held_out = (features.rows["fold"] == fold).fillna(False).to_numpy(bool)
        train = (features.rows["split"] == "development").to_numpy() & ~held_out
        y, scaler = (labels == "yes").to_numpy(int), StandardScaler().fit(features.values[train])
        x = scaler.transform(features.values)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        folds = list(splitter.split(x[train], y[train], patients[train]))
        model = LogisticRegressionCV(
            Cs=[10.0**power for power in range(-5, 3)],
            cv=folds,
            scoring="neg_log_loss",
            l1_ratios=(0,),
            use_legacy_attributes=False,
            max_iter=10_000,
        ).fit(x[train], y[train])
        scores = pd.DataFrame({"p": model.predict_proba(x[held_out])[:, 1], "y": y[held_out]})
        scores = scores.groupby(patients[held_out]).mean()
        weight = scores["y"].sum() * (1 - scores["y"]).sum()
        wins, pairs = wins + weight * roc_auc_score(scores["y"], scores["p"]), pairs + weight
    return wins / pairs


@pytest.mark.parametrize("num_patients", [30, 66])
def test_the_auroc_is_scikit_learns(num_patients: int) -> None:
    features = make_features(num_patients)
    found = probe(features, "ill", ill(features), SETTINGS)
    assert found.auroc.value == pytest.approx(scikit_learn_auroc(features, ill(features)), abs=0.005)
    assert found.auroc.low < found.auroc.value < found.auroc.high
    assert found.auroc.num_patients == num_patients
    assert found.patients_of_class == {"no": num_patients // 2, "yes": num_patients // 2}


def test_permuted_labels_give_chance() -> None:
    features, aurocs = make_features(60, strength=3.0), []
    patients = features.rows["patient_id"].astype(int)
    assert probe(features, "ill", ill(features), SETTINGS).auroc.value > 0.8
    for seed in range(4):
        shuffled = np.random.default_rng(seed).permutation(patients.max() + 1)
        labels = pd.Series(np.where(shuffled[patients] % 2, "yes", "no"))
        aurocs.append(probe(features, "ill", labels, SETTINGS).auroc.value)
    assert 0.36 < np.mean(aurocs) < 0.64


def test_labels_of_the_test_set_change_nothing() -> None:
    features = make_features(45)
    labels, tests = ill(features), features.rows["split"] == "test"
    changed = labels.mask(tests, "a third class")
    assert probe(features, "ill", changed, SETTINGS) == probe(features, "ill", labels, SETTINGS)


def test_features_that_learned_from_a_fold_are_judged_on_its_validation_patients_alone() -> None:
    features = make_features(45, learned_from={"cohort": "made", "fold": 1})
    found = probe(features, "ill", ill(features), SETTINGS)
    assert list(found.inverse_penalties) == [1] and found.auroc.num_patients == 15
    elsewhere = make_features(45, learned_from={"cohort": "another", "fold": 1})
    assert list(probe(elsewhere, "ill", ill(elsewhere), SETTINGS).inverse_penalties) == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda labels, patients: labels.where(labels == "yes", "yes"), "every scan has the value 'yes'"),
        (lambda labels, patients: labels.where(labels == "", ""), "no scan has a value"),
        (lambda labels, patients: labels.where(patients != "1", "rare"), "class 'rare' in the training part of fold"),
        (lambda labels, patients: patients, "45 different values, expected at most 20 classes"),
    ],
)
def test_a_label_that_cannot_be_fitted_has_the_reason(change, reason: str) -> None:
    features = make_features(45)
    found = probe(features, "x", change(ill(features), features.rows["patient_id"]), SETTINGS, num_draws=2)
    assert found.auroc.value is None and reason in found.auroc.reason and not found.shots


def test_few_shots_are_the_mean_over_draws_of_patients() -> None:
    features = make_features(60, strength=4.0)
    shots = probe(features, "ill", ill(features), SETTINGS, num_draws=5).shots
    assert tuple(shots) == SHOTS
    assert shots[1].value < shots[16].value
    assert all(each.low <= each.value <= each.high for each in shots.values())


def test_a_shot_fits_on_so_many_patients_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    features, fitted = make_features(45), []
    original = LogisticRegression.fit

    def watch(self, x, y):
        fitted.append((len(x), self.C))
        return original(self, x, y)

    monkeypatch.setattr(LogisticRegression, "fit", watch)
    probe(features, "ill", ill(features), SETTINGS, num_draws=2)
    ones = [size for size, penalty in fitted if penalty == 1.0 and size <= 4]
    assert len(ones) >= 6 and all(2 <= size <= 4 for size in ones)  # a patient of each class, with a scan or two


def test_more_shots_than_patients_have_the_reason() -> None:
    features = make_features(num_patients=30)
    assert probe(features, "ill", ill(features), SETTINGS, num_draws=2).shots[16].reason == (
        "a class has 10 training patients in a fold"
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("feature_0002", "is a feature"),
        ("patient_id", "is an id"),
        ("fold", "is an id, a file or a part of the split"),
        ("labl", "no column 'labl'. Did you mean 'label'"),
    ],
)
def test_ids_and_features_are_refused_as_labels(name: str, says: str) -> None:
    features = make_features()
    cohort = features.rows[["scan_id", "patient_id"]].assign(label="x", feature_0002="1", fold="0")
    with pytest.raises(ValueError, match=says):
        labels_of(features, cohort, name, ["x"], "binary")


def test_a_label_that_one_of_the_features_tells_is_refused() -> None:
    features = make_features()
    features.values[:, 7] = ill(features) == "yes"
    with pytest.raises(ValueError, match="label 'ill' is feature_0007 itself"):
        probe(features, "ill", ill(features), SETTINGS)


def test_several_labels_are_probed_one_by_one_and_unknown_ones_left_out() -> None:
    features = make_features(num_patients=30)
    cohort = pd.DataFrame({"scan_id": features.rows["scan_id"], "label": "a;b", "sex": "NA"})
    cohort.loc[3:, "label"] = "none"
    found = labels_of(features, cohort, "label", ["a", "b"], "multilabel")
    assert list(found) == ["label: a", "label: b"] and found["label: b"].value_counts()["yes"] == 3
    assert (labels_of(features, cohort, "sex", ["a", "b"], "multilabel")["sex"] == "").all()


def test_a_cohort_is_embedded_once_and_probed_for_several_columns(tmp_path: Path) -> None:
    cohort = EmbeddedCohort(tmp_path)
    write_csv(cohort.paths.cohort, cohort.cohort.assign(sex=["f", "m"] * 15))
    write_embeddings(tmp_path / "x.parquet", embed_cohort(Encoder.of_config(cohort.config, cohort.paths), cohort.paths))
    features = read_features(tmp_path / "x.parquet")
    probes = probe_labels(features, cohort.paths, ["label", "sex", "site"], SETTINGS)
    assert [each.label for each in probes] == ["label", "sex", "site"]
    assert probes[0].auroc.value > 0.9 > probes[1].auroc.value
    table, record = results_table(probes), results_record(features, probes)
    assert table["auroc"].isna().tolist() == [False, False, True] and "every scan" in table["reason"][2]
    assert json.loads(json.dumps(record))["labels"]["sex"]["num_scans"] == 24
    with pytest.raises(ValueError, match="features are of cohort 'blocks', got 'made'; give cohort=blocks"):
        probe_labels(features, type(cohort.paths)(tmp_path / "made"), ["label"], SETTINGS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.drop(columns="fold"), "column 'fold' is missing"),
        (lambda table: table[["scan_id", "patient_id", "split", "fold"]], "got no features"),
        (lambda table: table.assign(sex="f"), "got column 'sex'"),
        (lambda table: table.assign(size=np.nan), "an empty or infinite value"),
    ],
)
def test_a_table_that_is_none_of_features_is_refused(tmp_path: Path, change, says: str) -> None:
    table = make_features(30).rows.assign(size=1.0)
    change(table).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=says):
        read_features(tmp_path / "x.parquet")
