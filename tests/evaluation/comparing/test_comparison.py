import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from pipeline.evaluation.comparing.comparison import compare_experiments, holm, normal_difference
from pipeline.evaluation.evaluating import evaluate_predictions
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Sample

QUICK = Settings(num_bootstrap=300)


def distorted(table: pd.DataFrame, noise: float, seed: int = 1) -> pd.DataFrame:
    """The same patients judged by another model: the same logits with noise."""
    rng = np.random.default_rng(seed)
    names = [name for name in table if name.startswith("prob_")]
    logits = np.log(table[names].to_numpy()) + noise * rng.normal(size=(len(table), len(names)))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return table.assign(**dict(zip(names, probs.T, strict=True)))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_much_noisier_model_is_found_worse_by_the_difference_of_the_aurocs(make_predictions, num_classes):
    table = make_predictions(patients=120, num_classes=num_classes, signal=2.0)
    noisy = distorted(table, 4.0)
    (found,) = compare_experiments({"sharp": table, "noisy": noisy}, QUICK)
    values = [evaluate_predictions(each, QUICK)["val"]["patient"]["auroc"]["value"] for each in (table, noisy)]
    assert found.difference == pytest.approx(values[0] - values[1])
    assert found.low > 0
    assert "sharp ranks patients better than noisy" in found.in_words()


def test_a_model_does_not_differ_from_itself(make_predictions):
    table = make_predictions()
    (found,) = compare_experiments({"one": table, "same": table.sample(frac=1, random_state=0)}, QUICK)
    assert (found.difference, found.p_value) == (0, 1)
    assert found.in_words().startswith("No evidence of a difference between these fitted models")


def test_swapping_the_models_swaps_the_sign(make_predictions):
    table = make_predictions()
    noisy = distorted(table, 1.0)
    (one,), (other,) = (
        compare_experiments(dict(pair), QUICK) for pair in ([("a", table), ("b", noisy)], [("b", noisy), ("a", table)])
    )
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_pairing_makes_similar_models_comparable(make_predictions):
    """The interval of the difference is far narrower than two separate intervals would suggest."""
    table = make_predictions(patients=100)
    (found,) = compare_experiments({"a": table, "b": distorted(table, 0.2)}, QUICK)
    entry = evaluate_predictions(table, QUICK)["val"]["patient"]["auroc"]
    assert found.high - found.low < (entry["high"] - entry["low"]) / 2


def test_the_first_pair_is_primary_and_the_others_are_adjusted(make_predictions):
    table = make_predictions()
    found = compare_experiments({"a": table, "b": distorted(table, 1.0), "c": distorted(table, 2.0, seed=3)}, QUICK)
    assert [pair.is_primary for pair in found] == [True, False, False]
    assert found[0].adjusted_p_value == found[0].p_value
    expected = multipletests([pair.p_value for pair in found[1:]], method="holm")[1]
    assert [pair.adjusted_p_value for pair in found[1:]] == pytest.approx(list(expected))


def test_holm_matches_statsmodels():
    p_values = np.random.default_rng(0).random(9) ** 3
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def seeded(table: pd.DataFrame, noise: float, num_seeds: int) -> pd.DataFrame:
    """Models that differ by their seed: the same logits with noise of their own."""
    return pd.concat([distorted(table, noise, seed=100 + seed).assign(seed=seed) for seed in range(num_seeds)])


def test_three_seeds_speak_of_methods_and_fewer_of_fitted_models(make_predictions):
    table = make_predictions(patients=120, signal=2.0)
    for num_seeds, words in ((1, "Of these fitted models"), (2, "Of these fitted models"), (3, "Of these methods")):
        tables = {"sharp": seeded(table, 0.3, num_seeds), "noisy": seeded(table, 3.0, num_seeds)}
        (found,) = compare_experiments(tables, QUICK)
        assert found.in_words().startswith(words)
        assert found.num_seeds == num_seeds


def test_the_difference_of_methods_is_that_of_mean_aurocs_and_widened_by_the_spread_of_seeds(make_predictions):
    table = make_predictions(patients=120, signal=2.0)
    steady, shaky = seeded(table, 0.01, 4), seeded(table, 1.5, 4)
    (found,) = compare_experiments({"steady": steady, "shaky": shaky}, QUICK)
    aurocs = [
        [evaluate_predictions(rows, QUICK)["val"]["patient"]["auroc"]["value"] for _, rows in each.groupby("seed")]
        for each in (steady, shaky)
    ]
    assert found.difference == pytest.approx(np.mean(aurocs[0]) - np.mean(aurocs[1]))
    of_seeds = sum(np.var(values, ddof=1) / 4 for values in aurocs)
    assert (found.high - found.low) / 2 > 1.96 * np.sqrt(of_seeds)


def test_accuracies_are_compared_at_each_models_own_threshold(make_predictions):
    table = make_predictions(patients=120, signal=2.0)
    tables = {"sharp": table, "noisy": distorted(table, 4.0)}
    (found,) = compare_experiments(tables, QUICK, split="test")
    values = [evaluate_predictions(each, QUICK)["test"]["patient"]["accuracy"]["value"] for each in tables.values()]
    assert found.accuracy_difference == pytest.approx(values[0] - values[1])
    assert found.accuracy_p_value < 0.01


def test_other_patients_are_refused(make_predictions):
    table = make_predictions()
    with pytest.raises(ValueError, match="1 val patients differ from those of a"):
        compare_experiments({"a": table, "b": table[table["patient_id"] != "val-003"]}, QUICK)


def test_too_few_patients_are_refused(make_predictions):
    table = make_predictions(patients=12)
    with pytest.raises(ValueError, match="a class has 6 patients, a comparison needs 10"):
        compare_experiments({"a": table, "b": table}, QUICK)


def test_a_null_effect_raises_about_five_percent_false_alarms():
    """Two equally good models on 60 patients with two scans each."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 2)
    labels = patients % 2
    alarms = 0
    for _ in range(1000):
        truth = np.repeat(rng.normal(size=60), 2) + labels
        models = [
            [Sample(labels, two_columns(truth + rng.normal(size=120)), patients, patients * 0, ("a", "b"))]
            for _ in range(2)
        ]
        alarms += normal_difference(*models, QUICK).p_value < 0.05
    # 1,000 draws at 5 % leave 3.3 % to 7.1 % in 99 of 100 times.
    assert 0.033 <= alarms / 1000 <= 0.071


def two_columns(logits: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-logits))
    return np.stack([1 - positive, positive], axis=1)
