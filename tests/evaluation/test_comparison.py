import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from pipeline.evaluation.comparison import compare_experiments, holm, obuchowski_difference
from pipeline.evaluation.evaluate import evaluate_predictions
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings

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
    assert "sharp ranks patients better than noisy" in found.describe()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_model_and_itself_leave_nothing_to_judge(make_predictions, num_classes):
    table = make_predictions(num_classes=num_classes)
    (found,) = compare_experiments({"one": table, "same": table.sample(frac=1, random_state=0)}, QUICK)
    assert (found.difference, found.low, found.p_value, found.minimum_detectable_difference) == (0, None, None, None)
    assert "No difference between these fitted models can be tested (+0.000): they rank" in found.describe()


def test_two_models_that_both_separate_the_classes_show_no_spread_to_judge(make_predictions):
    tables = {name: make_predictions(seed=0, signal=signal) for name, signal in (("a", 50.0), ("b", 60.0))}
    (found,) = compare_experiments(tables, QUICK)
    assert (found.low, found.high, found.adjusted_p_value, found.minimum_detectable_difference) == (
        None,
        None,
        None,
        None,
    )
    assert "the classes are separated by both" in found.describe() and "0.000 would" not in found.describe()


def test_noise_is_no_difference_where_a_fold_has_a_single_patient_of_a_class():
    """From one patient no variance can be learned; nothing may stand in for it."""
    rng = np.random.default_rng(0)
    folds, labels = np.arange(60) // 12, np.arange(60) % 2 * (np.arange(60) < 24)
    labels[30] = 1
    noise = [[Sample(labels, two_columns(rng.normal(size=60)), np.arange(60), folds, ("a", "b"))] for _ in range(2)]
    found = obuchowski_difference(*noise, QUICK)
    assert (found.error, found.low, found.high, found.p_value) == (None, None, None, None)
    assert "a fold has a single patient of a class" in found.reason


def test_a_pair_that_cannot_be_judged_takes_no_part_in_the_adjustment(make_predictions):
    table = make_predictions()
    tables = {"a": table, "b": distorted(table, 1.0), "same": table, "c": distorted(table, 2.0, seed=3)}
    found = compare_experiments(tables, QUICK)
    judged = [pair for pair in found[1:] if pair.p_value is not None]
    assert len(judged) == len(found) - 2
    expected = multipletests([pair.p_value for pair in judged], method="holm")[1]
    assert [pair.adjusted_p_value for pair in judged] == pytest.approx(list(expected))


def test_without_a_threshold_accuracies_are_not_compared(make_predictions):
    table = make_predictions()
    strict = Settings(num_bootstrap=100, operating_point="sensitivity", operating_target=0.97)
    (found,) = compare_experiments({"a": table, "b": distorted(table, 1.0)}, strict)
    assert (found.accuracy_difference, found.accuracy_p_value) == (None, None)


def test_an_interval_of_several_classes_excludes_no_difference_exactly_where_the_p_value_does(make_predictions):
    """Both are those of one normal distribution, read off the interval's width."""
    table = make_predictions(num_classes=3)
    (found,) = compare_experiments({"a": table, "b": distorted(table, 1.0)}, QUICK)
    error = (found.high - found.low) / 2 / norm.ppf(0.975)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(found.difference) / error))
    assert found.high - found.difference == pytest.approx(found.difference - found.low)


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


@pytest.mark.parametrize(
    ("num_folds", "num_seeds", "words"),
    [
        (3, 2, "Of these fitted models"),
        (1, 3, "Of these fitted models"),
        (3, 3, "Of these methods"),
    ],
)
def test_three_seeds_of_several_training_sets_speak_of_methods(make_predictions, num_folds, num_seeds, words):
    table = make_predictions(patients=120, num_folds=num_folds, signal=2.0)
    tables = {"sharp": seeded(table, 0.3, num_seeds), "noisy": seeded(table, 3.0, num_seeds)}
    (found,) = compare_experiments(tables, QUICK)
    assert found.describe().startswith(words)
    assert (found.num_seeds, found.num_folds) == (num_seeds, num_folds)


def test_validation_patients_are_said_to_have_chosen_the_epochs_and_test_patients_are_not(make_predictions):
    table = make_predictions(patients=60)
    for split, is_said in (("val", True), ("test", False)):
        (found,) = compare_experiments({"sharp": table, "noisy": distorted(table, 3.0)}, QUICK, split)
        assert ("also chose the epoch" in found.describe()) == is_said


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


def test_validation_patients_of_other_folds_are_refused_and_test_patients_are_not(make_predictions):
    """Both validate the same patients, one in two folds and one in three: other models judged them."""
    tables = {"two": make_predictions(patients=90, num_folds=2), "three": make_predictions(patients=90, num_folds=3)}
    with pytest.raises(ValueError, match="three: 60 val patients differ from those of two, or were predicted in other"):
        compare_experiments(tables, QUICK)
    assert compare_experiments(tables, QUICK, split="test")[0].num_patients == 90


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
        alarms += obuchowski_difference(*models, QUICK).p_value < 0.05
    # 1,000 draws at 5 % leave 3.3 % to 7.1 % in 99 of 100 times.
    assert 0.033 <= alarms / 1000 <= 0.071


def two_columns(logits: np.ndarray) -> np.ndarray:
    positive = 1 / (1 + np.exp(-logits))
    return np.stack([1 - positive, positive], axis=1)


def nested_table(signal: float, luck: float, num_patients: int = 90, parts: int = 3) -> pd.DataFrame:
    """Nested folds whose validation rows are sharper by `luck`, as those of the epoch that they chose."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_patients) % 2
    logits = signal * (labels - 0.5) + rng.normal(size=num_patients)
    rows = []
    for outer in range(parts):
        others = [part for part in range(parts) if part != outer]
        for index, inner in enumerate(others):
            for split, part in (("val", inner), ("test", outer)):
                for patient in np.flatnonzero(np.arange(num_patients) // 2 % parts == part):
                    shift = luck * (labels[patient] - 0.5) if split == "val" else 0.0
                    noise = 0.3 * rng.normal()
                    probability = 1 / (1 + np.exp(-(logits[patient] + shift + noise)))
                    row = {"scan_id": f"s{patient}", "patient_id": f"p{patient}", "split": split, "seed": 0}
                    row |= {"fold": outer * (parts - 1) + index, "label": "ill" if labels[patient] else "fine"}
                    rows.append(row | {"prob_fine": 1 - probability, "prob_ill": probability})
    return pd.DataFrame(rows)


def test_nested_folds_are_compared_on_patients_that_chose_no_epoch():
    lucky, honest = nested_table(signal=1.0, luck=6.0), nested_table(signal=1.0, luck=0.0)
    better = nested_table(signal=4.0, luck=0.0)
    equal, worse = (compare_experiments({"lucky": lucky, "other": other}, QUICK)[0] for other in (honest, better))
    assert abs(equal.difference) < 0.02 and (equal.low is None or equal.low < 0 < equal.high)
    assert worse.difference < -0.1 and worse.high < 0
    assert "held it out, and whose epochs other patients chose" in worse.describe()
    assert "also chose the epoch" not in worse.describe()
    assert (worse.num_patients, worse.accuracy_difference) == (90, None)
