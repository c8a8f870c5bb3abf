import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor, nn

from pipeline.config import Training
from pipeline.training.losses import (
    BinaryCrossEntropy,
    FocalLoss,
    LogitAdjustedCrossEntropy,
    OrdinalLoss,
    build_loss,
    plain_loss,
)

# Probabilities 1/4 and 3/4, 1/2 and 1/2, 4/5 and 1/5; those of the true classes are 3/4, 1/2 and 1/5.
LOGITS = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [math.log(4), 0.0]])
LABELS = torch.tensor([1, 0, 1])
# Probabilities 1/2, 1/4, 1/4 of three grades.
GRADES = torch.tensor([[math.log(2), 0.0, 0.0]])


def built(task: str = "binary", counts: tuple[int, ...] = (1, 2), **settings: object) -> nn.Module:
    return build_loss(Training(**settings), task, counts, num_scans=sum(counts))


def test_cross_entropy_is_the_mean_negative_log_probability() -> None:
    assert float(built()(LOGITS, LABELS)) == pytest.approx(-math.log(3 / 4 * 1 / 2 * 1 / 5) / 3)
    assert float(built()(LOGITS, LABELS)) == pytest.approx(log_loss(LABELS, LOGITS.softmax(1)[:, 1]))


def test_balanced_weights_count_each_class_the_same() -> None:
    # Two scans of class 1, one of class 0: weights 3/4 and 3/2, normalized by their sum over the batch, 3.
    expected = -(0.75 * math.log(3 / 4) + 1.5 * math.log(1 / 2) + 0.75 * math.log(1 / 5)) / 3
    assert float(built(class_weights="balanced")(LOGITS, LABELS)) == pytest.approx(expected)


def test_smoothing_moves_the_target_towards_uniform() -> None:
    target = torch.tensor([[0.05, 0.95], [0.95, 0.05], [0.05, 0.95]])
    expected = float(-(target * LOGITS.log_softmax(1)).sum(1).mean())
    assert float(built(label_smoothing=0.1)(LOGITS, LABELS)) == pytest.approx(expected)
    assert float(FocalLoss(gamma=0.0, smoothing=0.1)(LOGITS, LABELS)) == pytest.approx(expected)


def test_focal_loss_scales_each_scan_by_how_unsure_it_is() -> None:
    # (1 - p) squared of the true class: 1/16, 1/4, 16/25.
    expected = -(math.log(3 / 4) / 16 + math.log(1 / 2) / 4 + math.log(1 / 5) * 16 / 25) / 3
    assert float(FocalLoss(gamma=2.0)(LOGITS, LABELS)) == pytest.approx(expected)


def test_logit_adjustment_adds_the_log_of_the_share_of_each_class() -> None:
    # Priors 1/3 and 2/3: odds of class 1 double, to 6, 2 and 1/2, so its probabilities are 6/7, 2/3 and 1/3.
    expected = -math.log(6 / 7 * 1 / 3 * 1 / 3) / 3
    assert float(LogitAdjustedCrossEntropy(torch.tensor([1 / 3, 2 / 3]))(LOGITS, LABELS)) == pytest.approx(expected)


def test_several_labels_are_as_many_questions() -> None:
    # Probabilities of being there: 3/4 and 1/2; the first is there, the second is not.
    logits, targets = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[1.0, 0.0]])
    assert float(BinaryCrossEntropy()(logits, targets)) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)
    # 1 of 4 scans shows the first class: its presence weighs three times.
    balanced = built("multilabel", (1, 2), class_weights="balanced", loss="bce")
    assert balanced.positive_weights.tolist() == [2.0, 0.5]
    weighted = -(2 * math.log(3 / 4) + math.log(1 / 2)) / 2
    assert float(balanced(logits, targets)) == pytest.approx(weighted)


def test_ordinal_loss_asks_of_each_threshold_whether_the_grade_is_above() -> None:
    # P(above 0) = 1/2, P(above 1) = 1/4. Of grade 0 both answers are no, of 1 yes and no, of 2 both yes.
    expected = {0: (1 / 2) * (3 / 4), 1: (1 / 2) * (3 / 4), 2: (1 / 2) * (1 / 4)}
    for grade, product in expected.items():
        found = float(OrdinalLoss()(GRADES, torch.tensor([grade])))
        assert found == pytest.approx(-math.log(product) / 2), grade


def test_a_guess_further_off_costs_more_with_grades_and_the_same_without() -> None:
    near, far = torch.tensor([[0.0, 3.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    truth = torch.tensor([0])
    assert float(OrdinalLoss()(far, truth)) > float(OrdinalLoss()(near, truth)) + 1
    assert float(plain_loss("multiclass")(far, truth)) == pytest.approx(float(plain_loss("multiclass")(near, truth)))


def test_of_two_grades_the_ordinal_loss_is_cross_entropy() -> None:
    assert float(OrdinalLoss()(LOGITS, LABELS)) == pytest.approx(float(built()(LOGITS, LABELS)))


def test_the_ordinal_loss_is_least_at_the_true_shares() -> None:
    shares = torch.tensor([[0.2, 0.5, 0.3]])
    logits = shares.log().requires_grad_()
    OrdinalLoss()(logits, shares).backward()
    assert torch.allclose(logits.grad, torch.zeros(1, 3), atol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "logit_adjustment", "ordinal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_shares_of_one_class_are_that_class(loss: str, smoothing: float, class_weights: str) -> None:
    if loss == "logit_adjustment" and class_weights == "balanced":
        pytest.skip("they correct for the same imbalance")
    function = built("ordinal", (3, 2, 4), loss=loss, label_smoothing=smoothing, class_weights=class_weights)
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 2, 1, 1, 0])
    assert float(function(logits, nn.functional.one_hot(labels, 3).float())) == pytest.approx(
        float(function(logits, labels))
    )


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "logit_adjustment", "ordinal"])
def test_half_of_each_of_two_scans_costs_the_mean_of_both_classes(loss: str) -> None:
    function = built("ordinal", (3, 2, 4), loss=loss)
    logits = torch.randn(1, 3, generator=torch.Generator().manual_seed(1))

    def of(target: Tensor) -> float:
        return float(function(logits, target))

    halves = (of(torch.tensor([0])) + of(torch.tensor([2]))) / 2
    assert of(torch.tensor([[0.5, 0.0, 0.5]])) == pytest.approx(halves)


def test_a_mixed_scan_weighs_as_much_as_its_classes() -> None:
    # Weights 3/2 and 3/4. The first scan is of class 1, the second, half of each, weighs 9/8 and costs log 2.
    targets = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    expected = -(0.75 * math.log(3 / 4) + 1.125 * math.log(1 / 2)) / (0.75 + 1.125)
    assert float(built(class_weights="balanced")(LOGITS[:2], targets)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task", "settings", "says"),
    [
        ("binary", {"loss": "bce"}, "'bce' does not fit the task binary.*cross_entropy"),
        ("multilabel", {"loss": "focal"}, "'focal' does not fit the task multilabel.*bce"),
        ("multiclass", {"loss": "ordinal"}, "'ordinal' does not fit the task multiclass"),
        ("binary", {"loss": "logit_adjustment", "class_weights": "balanced"}, "same imbalance"),
    ],
)
def test_a_loss_for_another_task_is_refused(task: str, settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        built(task, **settings)
