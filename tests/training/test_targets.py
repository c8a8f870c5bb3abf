import math

import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.training.targets import by_patient, count_classes, probabilities, validation_auroc, with_targets

ROWS = pd.DataFrame({"scan_id": ["s1", "s2", "s3"], "label": ["oedema;mass", "none", "mass"]})


def test_several_labels_become_a_zero_or_one_per_class() -> None:
    targets = with_targets(ROWS, ["mass", "oedema"], "multilabel")["label"].tolist()
    assert targets == [(1.0, 1.0), (0.0, 0.0), (1.0, 0.0)]
    assert count_classes(ROWS, ["mass", "oedema"], "multilabel") == [2, 1]


def test_one_label_becomes_its_class_index() -> None:
    rows = pd.DataFrame({"label": ["II", "I", "II"]})
    assert with_targets(rows, ["I", "II", "III"], "ordinal")["label"].tolist() == [1, 0, 1]
    assert count_classes(rows, ["I", "II", "III"], "ordinal") == [1, 2, 0]


def test_multilabel_probabilities_are_sigmoids() -> None:
    logits = torch.tensor([[math.log(3), math.log(4)]])
    assert probabilities(logits, "multilabel")[0].tolist() == pytest.approx([3 / 4, 4 / 5])
    assert probabilities(logits, "binary")[0].tolist() == pytest.approx([3 / 7, 4 / 7])


def test_validation_auroc_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (50,), generator=generator)
    probs = torch.rand(50, 2, generator=generator).softmax(1)
    assert validation_auroc(probs, labels) == pytest.approx(roc_auc_score(labels, probs[:, 1]))


def test_validation_auroc_of_several_labels_is_the_mean_over_those_that_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (50, 3), generator=generator).float()
    probs = torch.rand(50, 3, generator=generator)
    assert validation_auroc(probs, targets) == pytest.approx(roc_auc_score(targets, probs, average="macro"))
    targets[:, 2] = 1
    expected = roc_auc_score(targets[:, :2], probs[:, :2], average="macro")
    assert validation_auroc(probs, targets) == pytest.approx(expected)


def test_validation_auroc_of_one_class_is_undefined() -> None:
    assert math.isnan(validation_auroc(torch.rand(4, 2), torch.zeros(4, dtype=torch.long)))
    assert math.isnan(validation_auroc(torch.rand(4, 2), torch.zeros(4, 2)))


def test_a_patient_has_the_mean_probabilities_of_the_scans_and_scans_of_another_label_count_apart() -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    patients, labels = ["p", "q", "p", "q", "p"], torch.tensor([2, 0, 2, 1, 2])
    means, targets = by_patient(logits, labels, patients, "multiclass")
    probs = logits.softmax(1)
    expected = torch.stack([probs[[0, 2, 4]].mean(0), probs[1], probs[3]])
    assert torch.allclose(means.softmax(1), expected) and targets.tolist() == [2, 0, 1]


def test_with_several_labels_each_class_has_its_mean_probability() -> None:
    logits = 30 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    means, targets = by_patient(logits, labels, ["p", "p", "q", "q"], "multilabel")
    assert torch.allclose(means.sigmoid(), logits.sigmoid().view(2, 2, 2).mean(1)) and means.isfinite().all()
    assert targets.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_patients_of_one_scan_keep_their_logits() -> None:
    logits, labels = torch.randn(3, 2), torch.tensor([0, 1, 1])
    assert by_patient(logits, labels, ["a", "b", "c"], "binary") == (logits, labels)
