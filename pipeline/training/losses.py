"""Losses, and deep supervision of the stages."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import Training
from pipeline.models.layers import classifier_layer, global_mean
from pipeline.models.network import Network, StageOutputs
from pipeline.training.distributed import mean_of_processes
from pipeline.training.targets import Task

Loss = Callable[[Tensor, Tensor], Tensor]
OF_TASK: dict[Task, str] = {
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "bce",
    "ordinal": "ordinal",
}
"""What `auto` stands for; also the loss that validation reports, without weights and smoothing."""
FITTING: dict[Task, tuple[str, ...]] = {
    "binary": ("cross_entropy", "focal", "logit_adjustment"),
    "multiclass": ("cross_entropy", "focal", "logit_adjustment"),
    "multilabel": ("bce",),
    "ordinal": ("ordinal", "cross_entropy", "focal", "logit_adjustment"),
}
"""Losses whose probabilities are those that prediction gives: a softmax, or one of its own for each label."""


def build_loss(training: Training, task: Task, class_counts: Sequence[int], num_scans: int) -> nn.Module:
    """The loss of a config; `class_counts` are the training scans that show each class, of `num_scans` in all."""
    name = OF_TASK[task] if training.loss == "auto" else training.loss
    refuse_misfits(name, task, training)
    counts = torch.tensor(class_counts, dtype=torch.float32)
    is_balanced, smoothing = training.class_weights == "balanced", training.label_smoothing
    if name == "bce":
        return BinaryCrossEntropy((num_scans - counts) / counts if is_balanced else None, smoothing)
    if name == "logit_adjustment":
        return LogitAdjustedCrossEntropy(counts / counts.sum(), smoothing)
    weights = counts.sum() / (len(counts) * counts) if is_balanced else None
    if name == "focal":
        return FocalLoss(training.focal_gamma, weights, smoothing)
    if name == "cross_entropy" and is_balanced:
        # torch's own divides by the number of scans where they are mixed, and by the sum of their weights elsewhere.
        return FocalLoss(0.0, weights, smoothing)
    if name == "ordinal":
        return OrdinalLoss(weights, smoothing)
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


def refuse_misfits(name: str, task: Task, training: Training) -> None:
    """A loss for another task, or two corrections for the same imbalance."""
    if name not in FITTING[task]:
        raise ValueError(
            f"training.loss: '{name}' does not fit the task {task}, expected one of {', '.join(FITTING[task])}; "
            "set one of these, or auto."
        )
    if name == "logit_adjustment" and training.class_weights == "balanced":
        raise ValueError(
            "training.class_weights=balanced and training.loss=logit_adjustment correct for the same imbalance; "
            "leave one of the two out."
        )


def plain_loss(task: Task) -> Loss:
    """The loss of a task without weights and smoothing, which validation reports whatever training minimises."""
    if task == "multilabel":
        return functional.binary_cross_entropy_with_logits
    return OrdinalLoss() if task == "ordinal" else functional.cross_entropy


def as_shares(targets: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """(B,) or (B, K) -> the share of each class (B, K), moved by `smoothing` towards the uniform distribution."""
    shares = functional.one_hot(targets, num_classes).float() if targets.dim() == 1 else targets
    return shares * (1 - smoothing) + smoothing / num_classes


def weighted_mean(terms: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of `terms` (B,), each scan weighing as much as its class or, where it is mixed, its classes.

    Of several processes each divides by the mean of their sums of weights, so that the mean of their gradients is the
    gradient of the mean over all scans of the step.
    """
    if weights is None:
        return terms.mean()
    of_scan = as_shares(targets, len(weights)) @ weights
    return (terms * of_scan).sum() / mean_of_processes(of_scan.sum())


class FocalLoss(nn.Module):
    """Cross-entropy in which a class counts by (1 - p) ** gamma: less, the surer it is (arXiv:1708.02002).

    With `gamma` 0 it is cross-entropy; `weights` (K,) scale each class.
    """

    def __init__(self, gamma: float = 2.0, weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.smoothing = smoothing
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probs = logits.log_softmax(1)
        surprise = -log_probs * (1 - log_probs.exp()) ** self.gamma
        terms = (as_shares(targets, logits.shape[1], self.smoothing) * surprise).sum(1)
        return weighted_mean(terms, targets, self.weights)


class LogitAdjustedCrossEntropy(nn.Module):
    """Cross-entropy of logits + log(prior): the logits themselves are then those of balanced classes.

    `priors` (K,) are the classes' shares of the training scans (arXiv:2007.07314, with tau 1).
    """

    def __init__(self, priors: Tensor, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("log_priors", priors.log())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits + self.log_priors, targets, label_smoothing=self.smoothing)


class BinaryCrossEntropy(nn.Module):
    """One yes or no for each class: several may be right, or none. Targets are (B, K).

    `positive_weights` (K,) scale a class's presence against its absence; smoothing moves both towards 1/2.
    """

    def __init__(self, positive_weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("positive_weights", positive_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        shares = targets * (1 - self.smoothing) + self.smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, shares, pos_weight=self.positive_weights)


class OrdinalLoss(nn.Module):
    """Classes are grades: the mean cross-entropy of the K - 1 questions whether the grade is above each but the last.

    P(above k) is the sum of the softmax over the higher grades, so that the further off a guess, the more it costs, and
    the network still answers with one probability a class. A sum of proper scores is proper: the truth costs least.
    With two grades it is cross-entropy. `weights` (K,) scale each grade.
    """

    def __init__(self, weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probs = logits.log_softmax(1)
        log_up_to = log_probs.logcumsumexp(1)[:, :-1]
        log_above = log_probs.flip(1).logcumsumexp(1).flip(1)[:, 1:]
        above = as_shares(targets, logits.shape[1], self.smoothing).flip(1).cumsum(1).flip(1)[:, 1:]
        terms = -(above * log_above + (1 - above) * log_up_to).mean(1)
        return weighted_mean(terms, targets, self.weights)


class StageClassifiers(nn.Module):
    """A linear layer on the mean of each stage's map that has weight; used in training alone.

    `channels` are the C_i of the four stages, `weights` their shares beside the network's own logits, which have 1.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.heads = nn.ModuleList(
            classifier_layer(width, num_classes) if weight else nn.Identity()
            for width, weight in zip(channels, weights, strict=True)
        )

    def loss(self, outputs: StageOutputs, targets: Tensor, loss: Loss) -> Tensor:
        """Weighted mean of the loss of the network's logits and of each stage's."""
        total = loss(outputs.logits, targets)
        for stage, head, weight in zip(outputs.stages, self.heads, self.weights, strict=True):
            if weight:
                total = total + weight * loss(head(global_mean(stage)), targets)
        return total / (1 + sum(self.weights))


@torch.no_grad()
def stage_channels(network: Network, shape: Sequence[int]) -> list[int]:
    """Channels of the four stage maps, from one pass of an empty volume of `shape` (C, D, H, W)."""
    was_training = network.training
    device = next(network.parameters()).device
    stages = network.eval().forward_stages(torch.zeros(1, *shape, device=device)).stages
    network.train(was_training)
    return [stage.shape[1] for stage in stages]
