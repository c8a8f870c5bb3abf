import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from pipeline.evaluation.curves import OPERATING_POINTS, decision_curve, net_benefit, plot_tables, thresholds_of
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.operating_point import choose_operating_point
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import Settings


def sample_with(labels, probs) -> Sample:
    rows = np.arange(len(labels))
    probs = np.asarray(probs, dtype=float)
    return Sample(np.asarray(labels), np.stack([1 - probs, probs], 1), rows, rows * 0, ("healthy", "carcinoma"))


EVERYWHERE = Settings(decision_thresholds=(0.02, 0.98))

PUBLISHED = {
    0.03: 0.278,
    0.05: 0.263,
    0.08: 0.239,
    0.10: 0.222,
    0.20: 0.125,
    0.30: 0.000,
    0.40: -0.167,
    0.50: -0.400,
    0.60: -0.750,
    0.70: -1.333,
    0.80: -2.500,
    0.90: -6.000,
}
"""Net benefit of intervening in everybody where 30 % have hepatocellular carcinoma (PMC6993280, table 4)."""


def test_acting_on_everybody_is_worth_what_was_published():
    sample = sample_with(np.repeat([1, 0], [30, 70]), np.ones(100))
    for threshold, published in PUBLISHED.items():
        assert net_benefit(sample, np.ones(100, dtype=bool), threshold) == pytest.approx(published, abs=0.0006)


def test_net_benefit_counts_true_positives_less_false_alarms_at_their_price(make_sample):
    sample = make_sample()
    table = decision_curve(sample, EVERYWHERE).set_index("threshold")
    for threshold in (0.1, 0.5, 0.8):
        called = sample.probs[:, 1] >= threshold
        hits, alarms = (called & (sample.labels == 1)).sum(), (called & (sample.labels == 0)).sum()
        expected = (hits - alarms * threshold / (1 - threshold)) / len(called)
        assert table.loc[threshold, "net_benefit"] == pytest.approx(expected)


def test_the_true_probabilities_never_do_worse_than_a_distorted_score_or_no_model():
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 2, size=40_000)
    labels = (rng.random(len(truth)) < truth).astype(int)
    best, worse = (decision_curve(sample_with(labels, probs), EVERYWHERE) for probs in (truth, truth**2.5))
    noise = 0.005
    assert (best["net_benefit"] >= worse["net_benefit"] - noise).all()
    assert (best["net_benefit"] >= np.maximum(best["act_on_everybody"], 0) - noise).all()
    assert (best["net_benefit"] > worse["net_benefit"] + noise).any()


def test_intervals_hold_the_value_and_are_missing_with_few_patients_or_few_treated(make_sample):
    sample = make_sample()
    table, thresholds = decision_curve(sample, EVERYWHERE), thresholds_of(EVERYWHERE)
    treated = np.array([sample.count_patients(sample.probs[:, 1] >= threshold) for threshold in thresholds])
    assert (table["low"].isna() == (treated < 10)).all() and 0 < table["low"].isna().sum() < len(table)
    shown = table[table["low"].notna()]
    assert ((shown["low"] < shown["net_benefit"]) & (shown["net_benefit"] < shown["high"])).all()
    few = decision_curve(sample_with([0, 1] * 9, np.linspace(0.1, 0.9, 18)), EVERYWHERE)
    assert few["low"].isna().all()
    assert few["threshold"].tolist() == thresholds.tolist() == np.round(np.arange(0.02, 1, 0.02), 2).tolist()


def test_net_benefit_is_reported_over_the_declared_range_with_both_its_ends(make_sample):
    table = decision_curve(make_sample(), Settings(decision_thresholds=(0.05, 0.11)))
    assert table["threshold"].tolist() == [0.05, 0.06, 0.08, 0.1, 0.11]


def test_the_interval_of_net_benefit_is_that_of_its_mean_in_a_large_sample():
    """True positives less weighted false ones are a mean over patients, whose standard error everybody knows."""
    rng = np.random.default_rng(0)
    labels = (rng.random(4000) < 0.3).astype(int)
    sample = sample_with(labels, np.clip(0.3 * labels + rng.random(4000) * 0.7, 0, 1))
    table = decision_curve(sample, EVERYWHERE).set_index("threshold")
    for threshold in (0.2, 0.4, 0.6):
        worth = (sample.probs[:, 1] >= threshold) * np.where(labels == 1, 1, -threshold / (1 - threshold))
        reach = 1.96 * worth.std(ddof=1) / np.sqrt(4000)
        assert table.loc[threshold, "high"] - table.loc[threshold, "low"] == pytest.approx(2 * reach, rel=0.02)


def test_every_rule_is_chosen_on_validation_and_judged_on_test(make_predictions):
    table = make_predictions(patients=100)
    found = evaluate_table(table, Settings(num_bootstrap=100)).plots[OPERATING_POINTS]
    assert list(found["rule"].unique()) == ["youden", "sensitivity", "specificity", "cost"]
    patients = table.groupby(["split", "patient_id", "label"])[["prob_healthy", "prob_lesion"]].mean().reset_index()
    validation, test = (sample_of(patients[patients["split"] == split].assign(fold=0)) for split in ("val", "test"))
    for rule, rows in found.groupby("rule"):
        threshold = choose_operating_point(validation, Settings(operating_point=rule), 2).threshold
        assert rows["threshold"].tolist() == pytest.approx([threshold] * 4)
        called = test.probs[test.labels == 1, 1] >= threshold
        assert rows.set_index("metric").loc["sensitivity", "value"] == pytest.approx(called.mean())


def test_a_threshold_for_the_mean_of_several_folds_is_said_to_be_approximate(make_predictions):
    for num_folds, caveats in ((1, 0), (3, 16)):
        evaluation = evaluate_table(make_predictions(patients=90, num_folds=num_folds), Settings(num_bootstrap=100))
        found = evaluation.plots[OPERATING_POINTS]["caveat"].fillna("")
        assert found.str.contains("approximate").sum() == caveats


def test_a_rule_that_cannot_be_followed_says_why(make_predictions):
    found = evaluate_table(make_predictions(), Settings(num_bootstrap=100, operating_target=0.95)).plots
    reasons = found[OPERATING_POINTS].set_index("rule")["reason"]
    assert "needs 40 validation patients" in reasons["sensitivity"]
    assert found[OPERATING_POINTS].set_index("rule").loc["sensitivity", "threshold"] != 0.5


def test_without_validation_no_rule_has_a_threshold(make_predictions):
    table = make_predictions()
    found = evaluate_table(table[table["split"] == "test"], Settings(num_bootstrap=100)).plots[OPERATING_POINTS]
    assert found["threshold"].isna().all()
    assert found["reason"].str.contains("no validation rows").all()


def test_curves_are_those_of_scikit_learn(make_sample):
    sample = make_sample()
    plots = plot_tables(sample, None, Settings(num_bootstrap=100))
    false_positives, sensitivities, _ = roc_curve(sample.labels, sample.probs[:, 1], drop_intermediate=False)
    assert plots["roc"]["false_positive_rate"].tolist() == pytest.approx(false_positives)
    assert plots["roc"]["sensitivity"].tolist() == pytest.approx(sensitivities)
    precision, recall, thresholds = precision_recall_curve(sample.labels, sample.probs[:, 1])
    # scikit-learn goes up in thresholds and adds the point where nothing is called.
    assert plots["precision_recall"]["precision"].tolist() == pytest.approx(precision[-2::-1])
    assert plots["precision_recall"]["recall"].tolist() == pytest.approx(recall[-2::-1])
    assert plots["precision_recall"]["threshold"].tolist() == pytest.approx(thresholds[::-1])


def test_each_fold_has_its_own_curve(make_sample):
    sample = make_sample(num_folds=3)
    roc = plot_tables(sample, None, Settings(num_bootstrap=100))["roc"]
    for fold, curve in roc.groupby("fold"):
        rows = sample.folds == fold
        false_positives, _, _ = roc_curve(sample.labels[rows], sample.probs[rows, 1], drop_intermediate=False)
        assert curve["false_positive_rate"].tolist() == pytest.approx(false_positives)


def test_calls_are_shown_at_a_threshold_or_not_at_all(make_sample):
    for threshold, num_rows in ((None, 0), (0.4, 90)):
        sample = make_sample(threshold=threshold)
        assert len(plot_tables(sample, None, Settings(num_bootstrap=100))["confusion"]) == num_rows


def test_no_table_names_anybody(make_sample):
    for table in plot_tables(make_sample(num_classes=3), None, Settings()).values():
        assert not {"scan_id", "patient_id"} & set(table.columns)
