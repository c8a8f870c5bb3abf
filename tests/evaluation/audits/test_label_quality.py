import numpy as np
import pandas as pd

from pipeline.evaluation.audits.label_quality import audit_label_quality, rank_labels


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


def test_labels_are_counted_and_ranked_but_raise_no_alarm():
    found = audit_label_quality(made(wrong=30, spread=5.0))
    assert found.is_alarm is None and found.verdict == "labels ranked"
    assert found.metrics["num_suspect"] > 2 * audit_label_quality(made(spread=5.0)).metrics["num_suspect"]


def test_several_classes_are_ranked_by_the_strongest_other_class():
    probs = np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9]])
    rows = pd.DataFrame(probs, columns=["prob_a", "prob_b", "prob_c"]).assign(
        patient_id=list("pqrs"), label=["a", "a", "b", "c"]
    )
    first = rank_labels(rows).iloc[0]
    assert first["patient_id"] == "p" and first["suggested"] == "c" and first["lead"] == 0.7 - 0.1


def test_with_few_rows_of_a_class_nothing_is_counted():
    assert "this takes 10" in audit_label_quality(made(patients=12)).reason
