import numpy as np
import pandas as pd

from pipeline.evaluation.audits.finding import AuditFinding
from pipeline.evaluation.audits.label_quality import audit_label_quality, rank_labels
from pipeline.evaluation.metrics.calibration import logit
from pipeline.evaluation.settings import Settings


def made(seed: int = 0, patients: int = 150, wrong: int = 0, spread: float = 2.0) -> pd.DataFrame:
    """Labels drawn with the stated probabilities; the last `wrong` are then named otherwise."""
    rng = np.random.default_rng(seed)
    probs = 1 / (1 + np.exp(-spread * rng.normal(size=patients)))
    labels = rng.random(patients) < probs
    labels[patients - wrong :] = ~labels[patients - wrong :]
    return table([f"p{index}" for index in range(patients)], np.where(labels, "ill", "well"), probs)


def table(patient_ids, labels, probs) -> pd.DataFrame:
    return pd.DataFrame(
        {"patient_id": patient_ids, "label": labels, "prob_well": 1 - np.array(probs), "prob_ill": probs}
    )


def judge(rows: pd.DataFrame, seed: int = 0, *, is_calibrated: bool = True, num_draws: int = 999) -> AuditFinding:
    return audit_label_quality(
        rows, Settings(num_bootstrap=300, seed=seed), is_calibrated=is_calibrated, num_draws=num_draws
    )


def test_confident_learning_s_rule_by_hand():
    """Usual for well is (.9 + .8 + .2) / 3 = .63, for ill (.9 + .7 + .3) / 3 = .63."""
    rows = table(list("abcdef"), ["well", "well", "well", "ill", "ill", "ill"], [0.1, 0.2, 0.8, 0.9, 0.7, 0.3])
    ranked = rank_labels(rows)
    assert ranked["patient_id"].tolist() == ["c", "f", "e", "b", "a", "d"]
    assert ranked["is_suspect"].tolist() == [True, True, False, False, False, False]
    assert ranked["suggested"].tolist()[:2] == ["ill", "well"]
    assert np.allclose(ranked["lead"], [0.6, 0.4, -0.4, -0.6, -0.8, -0.8])


def test_planted_mislabels_are_found_among_the_top_ranked():
    """Scores that nearly part the classes: of fifteen wrong labels in 150, most of the first fifteen are wrong ones."""
    ranked = rank_labels(made(wrong=15, spread=5.0))
    assert ranked["patient_id"].head(15).isin([f"p{index}" for index in range(135, 150)]).sum() >= 10


def test_many_mislabels_raise_the_alarm():
    found = judge(made(wrong=30, spread=5.0))
    assert found.is_alarm and found.figures["num_suspect"] > 2 * found.figures["num_expected"]


def test_two_hundred_clean_cohorts_raise_an_alarm_in_at_most_five_percent():
    alarms = [judge(made(seed, patients=100), num_draws=99, seed=seed).is_alarm for seed in range(200)]
    assert sum(alarms) <= 10


def test_several_classes_are_ranked_by_the_strongest_other_class():
    probs = np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])
    rows = pd.DataFrame(probs, columns=["prob_a", "prob_b", "prob_c"]).assign(
        patient_id=list("pqrs"), label=["a", "a", "b", "c"]
    )
    first = rank_labels(rows).iloc[0]
    assert first["patient_id"] == "p" and first["suggested"] == "c" and first["lead"] == 0.7 - 0.1


def test_with_few_rows_of_a_class_nothing_is_judged():
    assert "this takes 10" in judge(made(patients=12)).reason


def test_probabilities_that_do_not_mean_what_they_say_are_not_judged():
    """True labels, each logit three times as large as it should be: the contradictions are the model's own."""
    rows = made()
    stated = 1 / (1 + np.exp(-3 * logit(rows["prob_ill"].to_numpy())))
    overconfident = rows.assign(prob_ill=stated, prob_well=1 - stated)
    assert judge(overconfident).is_alarm
    assert "not calibrated" in judge(overconfident, is_calibrated=False).reason
    assert judge(rows, is_calibrated=False).is_alarm is False


def test_scans_of_a_patient_are_one_draw():
    """Ten scans of each of thirty patients, all with their patient's label, are no more evidence than one."""
    rows = made(patients=30)
    scans = pd.concat([rows.assign(scan_id=f"{number}") for number in range(10)])
    assert judge(scans).figures["p_value"] == judge(rows).figures["p_value"]
