import math

import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline.training.targets import count_classes, probabilities, scan_auroc, with_targets

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


def test_scan_auroc_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (50,), generator=generator)
    probs = torch.rand(50, 2, generator=generator).softmax(1)
    assert scan_auroc(probs, labels) == pytest.approx(roc_auc_score(labels, probs[:, 1]))


def test_scan_auroc_of_several_labels_is_the_mean_over_those_that_vary() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (50, 3), generator=generator).float()
    probs = torch.rand(50, 3, generator=generator)
    assert scan_auroc(probs, targets) == pytest.approx(roc_auc_score(targets, probs, average="macro"))
    targets[:, 2] = 1
    assert scan_auroc(probs, targets) == pytest.approx(roc_auc_score(targets[:, :2], probs[:, :2], average="macro"))


def test_scan_auroc_of_one_class_is_undefined() -> None:
    assert math.isnan(scan_auroc(torch.rand(4, 2), torch.zeros(4, dtype=torch.long)))
    assert math.isnan(scan_auroc(torch.rand(4, 2), torch.zeros(4, 2)))
