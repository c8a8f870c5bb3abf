import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.audits.evidence import Evidence, shortcut_table
from pipeline.evaluation.audits.shortcut import audit_shortcut
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.predictions import check_predictions

COLUMNS = ("scanner", "dose", "field", "delay")


def made(seed: int = 0, patients: int = 80, known: float = 0.0) -> tuple[Evidence, pd.DataFrame]:
    """Five folds and no test set; the first of four numbers about the scanner follows the label as `known` says."""
    rng = np.random.default_rng(seed)
    is_ill = np.arange(patients) % 2 == 0
    labels = np.where(is_ill, "ill", "well")
    ids = pd.DataFrame(
        {"scan_id": [f"s{k}" for k in range(patients)], "patient_id": [f"p{k}" for k in range(patients)]}
    )
    numbers = rng.normal(size=(patients, 4))
    numbers[:, 0] += known * is_ill
    cohort = ids.assign(label=labels, **dict(zip(COLUMNS, numbers.astype(str).T, strict=True)))
    folds = np.arange(patients) // 2 % 5
    splits = ids.assign(label=labels, split="development", fold=folds.astype(str))
    prob = 1 / (1 + np.exp(rng.normal(size=patients) - is_ill))
    predicted = check_predictions(ids.assign(label=labels, fold=folds, split="val", prob_well=1 - prob, prob_ill=prob))
    changes = ids.iloc[:0].assign(change="none", prob_well=0.0, prob_ill=0.0)
    return Evidence(predicted, Covariates(cohort, splits, acquisition=COLUMNS), {}, {}, changes), predicted


def test_acquisition_is_scored_by_ridge_regressions_on_the_other_folds():
    evidence, predicted = made(known=1.0)
    table, *_ = shortcut_table(evidence, predicted, num_shuffles=1)
    features = evidence.covariates.cohort[list(COLUMNS)].astype(float).to_numpy()
    labels = table["is_positive"].to_numpy(dtype=float)
    for part in range(5):
        judged = (table["part"] == part).to_numpy()
        ridge = make_pipeline(StandardScaler(), Ridge(alpha=4.0)).fit(features[~judged], labels[~judged])
        expected = ridge.predict(features[judged]) - labels[~judged].mean()
        assert table.loc[judged, "acquisition"].to_numpy() == pytest.approx(expected)


def test_a_number_that_tells_the_label_is_found_against_fits_to_shuffled_labels():
    evidence, predicted = made(known=1.0)
    table, refitted, _ = shortcut_table(evidence, predicted)
    available = audit_shortcut(table, refitted).metrics["available"]
    aurocs = [roc_auc_score(rows["is_positive"], rows["acquisition"]) for _, rows in table.groupby("part")]
    assert available["value"] == pytest.approx(np.mean(aurocs))
    assert available["p_value"] == pytest.approx((1 + (refitted["acquisition"] >= np.mean(aurocs)).sum()) / 1000)
    assert available["p_value"] < 0.01


def test_a_patient_of_whom_nothing_is_known_is_taken_for_an_ordinary_one():
    evidence, predicted = made(known=1.0)
    evidence.covariates.cohort.loc[0, list(COLUMNS)] = ""
    table, *_ = shortcut_table(evidence, predicted, num_shuffles=1)
    assert abs(table["acquisition"].iloc[0]) < table["acquisition"].abs().median()


def test_fits_to_two_hundred_clean_cohorts_have_the_p_values_that_chance_gives():
    """5 % in both tails together; scores held fixed, whose spread ignores that fits share patients, would have 15 %."""
    found = []
    for seed in range(200):
        table, refitted, _ = shortcut_table(*made(seed), num_shuffles=199, seed=seed)
        found.append(audit_shortcut(table, refitted, num_shuffles=1).metrics["available"]["p_value"])
    # 200 draws at 5 % give 3 to 18 in 99 of 100 times.
    assert 3 <= np.sum((np.array(found) <= 0.025) | (np.array(found) > 0.975)) <= 18
