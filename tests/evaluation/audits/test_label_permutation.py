import numpy as np
import pandas as pd

from pipeline.evaluation.audits.label_permutation import audit_label_permutation
from pipeline.evaluation.cv_design import patient_partitions


def made(seed: int = 0, patients: int = 90, leaked: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A third is the test set; the first `leaked` patients of it are trained on as well, with other scans."""
    rng = np.random.default_rng(seed)
    number = np.concatenate([np.arange(patients), np.arange(leaked)])
    is_test = (number < patients // 3) & (np.arange(len(number)) < patients)
    splits = pd.DataFrame(
        {
            "patient_id": [f"p{index}" for index in number],
            "label": np.where(number % 3 == 0, "ill", "well"),
            "split": np.where(is_test, "test", "development"),
            "fold": np.where(is_test, "", (number % 4).astype(str)),
        }
    )
    person = rng.normal(size=(patients, 40))
    return patient_partitions(splits), person[number] + 0.3 * rng.normal(size=(len(number), 40))


def test_patients_on_both_sides_carry_shuffled_labels_to_the_test_set():
    found = audit_label_permutation(*made(leaked=15), "ill")
    assert found.verdict == "labels leak" and found.is_alarm
    assert found.metrics["mean_auroc"] > 0.55 and "Labels reach the test set" in found.summary


def test_two_hundred_clean_cohorts_raise_an_alarm_in_at_most_five_percent():
    alarms = [audit_label_permutation(*made(seed), "ill", num_shuffles=49, seed=seed).is_alarm for seed in range(200)]
    assert 0 < sum(alarms) <= 10


def test_silence_never_says_that_nothing_leaks():
    found = audit_label_permutation(*made(), "ill")
    assert not found.is_alarm and "does not prove that nothing leaks" in found.summary


def test_real_labels_that_the_embedding_tells_raise_no_alarm():
    division, embeddings = made()
    embeddings[:, 0] = 5 * (division["label"] == "ill")
    assert not audit_label_permutation(division, embeddings, "ill").is_alarm


def test_with_few_patients_or_nobody_to_fit_on_nothing_is_judged():
    assert "under 10 patients" in audit_label_permutation(*made(patients=27), "ill").reason
    division, embeddings = made()
    assert "nobody to fit on" in audit_label_permutation(division.assign(part=-1), embeddings, "ill").reason
