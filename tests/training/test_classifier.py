import math

import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from pipeline.training.classifier import Classifier, scan_auroc

LOGITS = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [math.log(4), 0.0]])
LABELS = torch.tensor([1, 0, 1])


def loss_of(**options: object) -> float:
    classifier = Classifier(
        nn.Identity(), optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, warmup_fraction=0.0, **options
    )
    return float(classifier.loss(LOGITS, LABELS))


def test_loss_is_the_mean_negative_log_probability() -> None:
    # Probabilities of the true class, worked by hand: 3/4, 1/2, 1/5.
    assert loss_of() == pytest.approx(-math.log(3 / 4 * 1 / 2 * 1 / 5) / 3)
    assert loss_of() == pytest.approx(log_loss(LABELS, LOGITS.softmax(1)[:, 1]))


def test_class_weights_count_each_class_the_same() -> None:
    # Two scans of class 1, one of class 0: weights 3/4 and 3/2, normalised by their sum over the batch, 3.
    expected = -(0.75 * math.log(3 / 4) + 1.5 * math.log(1 / 2) + 0.75 * math.log(1 / 5)) / 3
    assert loss_of(class_weights=torch.tensor([1.5, 0.75])) == pytest.approx(expected)


def test_label_smoothing_moves_the_target_towards_uniform() -> None:
    probs = LOGITS.softmax(1).log()
    target = torch.tensor([[0.05, 0.95], [0.95, 0.05], [0.05, 0.95]])
    assert loss_of(label_smoothing=0.1) == pytest.approx(float(-(target * probs).sum(1).mean()))


def test_a_loss_that_is_not_finite_names_the_scans() -> None:
    classifier = Classifier(nn.Identity(), optimizer="adamw", learning_rate=1e-3, weight_decay=0.0, warmup_fraction=0.0)
    batch = {"volume": torch.full((2, 2), math.nan), "label": torch.tensor([0, 1]), "scan_id": ["a1", "b2"]}
    with pytest.raises(ValueError, match=r"nan on scans a1, b2.*learning_rate"):
        classifier.training_step(batch, 0)


def test_scan_auroc_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (50,), generator=generator)
    probs = torch.rand(50, 2, generator=generator).softmax(1)
    assert scan_auroc(probs, labels) == pytest.approx(roc_auc_score(labels, probs[:, 1]))


def test_scan_auroc_of_one_class_is_undefined() -> None:
    assert math.isnan(scan_auroc(torch.rand(4, 2), torch.zeros(4, dtype=torch.long)))
