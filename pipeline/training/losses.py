"""Losses, registered by name for the tasks that they fit, and deep supervision of the stages.

Axes: B batch, K classes. Targets are class indices (B,), or soft targets (B, K): shares of the classes for a mixed
scan, zeros and ones for multilabel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import Training
from pipeline.core.registry import Registry
from pipeline.models.layers import classifier_layer, global_mean
from pipeline.models.network import Network, StageOutputs
from pipeline.models.registry import check_keywords
from pipeline.training.distributed import mean_of_processes
from pipeline.training.targets import Task

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K), targets) -> scalar."""
ONE_CLASS: tuple[Task, ...] = ("binary", "multiclass", "ordinal")
"""Tasks in which a scan has one class: probabilities are a softmax."""
DEFAULT_LOSSES: dict[Task, str] = {
    "binary": "cross_entropy",
    "multiclass": "cross_entropy",
    "multilabel": "bce",
    "ordinal": "ordinal",
}
"""What `auto` stands for; without weights and smoothing also the loss that validation reports."""


@dataclass(frozen=True)
class LossInputs:
    """What a loss is built from, besides its own options."""

    class_counts: Tensor
    """Training scans of each class (K,)."""
    num_scans: int
    """Training scans in total."""
    is_balanced: bool = False
    """Shall each class count the same?"""
    smoothing: float = 0.0
    """How far targets are moved towards the uniform distribution."""

    @property
    def class_weights(self) -> Tensor | None:
        """Weights (K,) inverse to the counts; None if classes are not balanced."""
        counts = self.class_counts
        return counts.sum() / (len(counts) * counts) if self.is_balanced else None


@dataclass(frozen=True)
class LossEntry:
    """A loss that `training.loss` can name."""

    name: str
    build: Callable[..., Loss]
    """(LossInputs, **options) -> the loss; the options are the keywords that `training.loss_options` may set."""
    title: str
    tasks: tuple[Task, ...]
    """Tasks whose predicted probabilities are the ones that the loss assumes."""
    corrects_imbalance: bool = False
    """Does it correct for the class counts by itself, so that balanced class weights would correct twice?"""


LOSSES: Registry[LossEntry] = Registry("loss", LossEntry)


@LOSSES.register("cross_entropy", title="cross-entropy", tasks=ONE_CLASS)
def build_cross_entropy(inputs: LossInputs, /) -> Loss:
    if inputs.is_balanced:
        # torch's weighted cross-entropy divides by the number of scans for soft targets, else by the sum of weights.
        return FocalLoss(0.0, inputs.class_weights, inputs.smoothing)
    return nn.CrossEntropyLoss(label_smoothing=inputs.smoothing)


@LOSSES.register("focal", title="focal loss", tasks=ONE_CLASS)
def build_focal(inputs: LossInputs, /, *, gamma: float = 2.0) -> Loss:
    return FocalLoss(gamma, inputs.class_weights, inputs.smoothing)


@LOSSES.register("logit_adjustment", title="logit-adjusted cross-entropy", tasks=ONE_CLASS, corrects_imbalance=True)
def build_logit_adjustment(inputs: LossInputs, /) -> Loss:
    return LogitAdjustedCrossEntropy(inputs.class_counts / inputs.class_counts.sum(), inputs.smoothing)


@LOSSES.register("bce", title="binary cross-entropy of each class", tasks=("multilabel",))
def build_bce(inputs: LossInputs, /) -> Loss:
    counts = inputs.class_counts
    return BinaryCrossEntropy((inputs.num_scans - counts) / counts if inputs.is_balanced else None, inputs.smoothing)


@LOSSES.register("ordinal", title="ordinal loss", tasks=("ordinal",))
def build_ordinal(inputs: LossInputs, /) -> Loss:
    return OrdinalLoss(inputs.class_weights, inputs.smoothing)


def build_loss(training: Training, task: Task, class_counts: Sequence[int], num_scans: int) -> Loss:
    """The loss of a config; `class_counts` are the training scans of each class, out of `num_scans`."""
    check_loss(training, task)
    entry = LOSSES.get(DEFAULT_LOSSES[task] if training.loss == "auto" else training.loss)
    counts = torch.tensor(class_counts, dtype=torch.float32)
    inputs = LossInputs(counts, num_scans, training.class_weights == "balanced", training.label_smoothing)
    return entry.build(inputs, **training.loss_options)


def check_loss(training: Training, task: Task) -> None:
    """Reject an unknown loss or option, a loss for another task, and two corrections for the same imbalance."""
    entry = LOSSES.get(DEFAULT_LOSSES[task] if training.loss == "auto" else training.loss)
    if task not in entry.tasks:
        fitting = ", ".join(other.name for other in LOSSES.entries() if task in other.tasks)
        raise ValueError(
            f"training.loss: '{entry.name}' does not fit the task {task}, expected one of {fitting}; "
            "set one of these, or auto."
        )
    check_keywords(f"training.loss_options: loss '{entry.name}'", entry.build, training.loss_options)
    if entry.corrects_imbalance and training.class_weights == "balanced":
        raise ValueError(
            f"training.class_weights=balanced and training.loss={entry.name} correct for the same imbalance; "
            "leave one of the two out."
        )


def plain_loss(task: Task) -> Loss:
    """The loss of a task without weights and smoothing, which validation reports whichever loss is trained."""
    if task == "multilabel":
        return functional.binary_cross_entropy_with_logits
    return OrdinalLoss() if task == "ordinal" else functional.cross_entropy


def soft_targets(targets: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """(B,) or (B, K) -> the share of each class (B, K), moved by `smoothing` towards the uniform distribution."""
    shares = functional.one_hot(targets, num_classes).float() if targets.dim() == 1 else targets
    return shares * (1 - smoothing) + smoothing / num_classes


def weighted_mean(terms: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of `terms` (B,), each scan weighted by its class, or by its shares of the classes.

    With several processes each divides by the mean of their sums of weights, so that the mean of their gradients is the
    gradient of the mean over all scans of the step.
    """
    if weights is None:
        return terms.mean()
    scan_weights = soft_targets(targets, len(weights)) @ weights
    return (terms * scan_weights).sum() / mean_of_processes(scan_weights.sum())


class FocalLoss(nn.Module):
    """Cross-entropy in which a class counts by (1 - p) ** gamma: less, the surer the network is (arXiv:1708.02002).

    `gamma` 0 is cross-entropy; `weights` (K,) scale each class.
    """

    def __init__(self, gamma: float = 2.0, weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.smoothing = smoothing
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probs = logits.log_softmax(1)
        costs = -log_probs * (1 - log_probs.exp()) ** self.gamma
        terms = (soft_targets(targets, logits.shape[1], self.smoothing) * costs).sum(1)
        return weighted_mean(terms, targets, self.weights)


class LogitAdjustedCrossEntropy(nn.Module):
    """Cross-entropy of logits + log(prior), so that the logits themselves are those of balanced classes.

    `priors` (K,) are the shares of the classes among the training scans (arXiv:2007.07314, with tau 1).
    """

    def __init__(self, priors: Tensor, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("log_priors", priors.log())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(logits + self.log_priors, targets, label_smoothing=self.smoothing)


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of each class, of which several may be present, or none. Targets are (B, K).

    `positive_weights` (K,) scale presence against absence of a class; smoothing moves both towards 1/2.
    """

    def __init__(self, positive_weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("positive_weights", positive_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        shares = targets * (1 - self.smoothing) + self.smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, shares, pos_weight=self.positive_weights)


class OrdinalLoss(nn.Module):
    """Classes are grades: the mean binary cross-entropy over the K - 1 thresholds between them.

    P(above k) is the sum of the softmax over the higher grades, so that a guess costs more, the further off it is, and
    the network still predicts one probability per class. A sum of proper scores is proper: the true distribution has
    the lowest loss. With two grades it is cross-entropy. `weights` (K,) scale each grade.
    """

    def __init__(self, weights: Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        log_probs = logits.log_softmax(1)
        log_up_to = log_probs.logcumsumexp(1)[:, :-1]
        log_above = log_probs.flip(1).logcumsumexp(1).flip(1)[:, 1:]
        above = soft_targets(targets, logits.shape[1], self.smoothing).flip(1).cumsum(1).flip(1)[:, 1:]
        terms = -(above * log_above + (1 - above) * log_up_to).mean(1)
        return weighted_mean(terms, targets, self.weights)


class StageClassifiers(nn.Module):
    """A linear classifier on the mean of the map of each stage whose weight is not 0; used only in training.

    `channels` are the C_i of the four stages; `weights` are relative to the network's own logits, which have weight 1.
    """

    def __init__(self, channels: Sequence[int], num_classes: int, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.heads = nn.ModuleList(
            classifier_layer(width, num_classes) if weight else nn.Identity()
            for width, weight in zip(channels, weights, strict=True)
        )

    def loss(self, outputs: StageOutputs, targets: Tensor, loss: Loss) -> Tensor:
        """Weighted mean of the losses of the network's logits and of each stage's logits."""
        total = loss(outputs.logits, targets)
        for stage, head, weight in zip(outputs.stages, self.heads, self.weights, strict=True):
            if weight:
                total = total + weight * loss(head(global_mean(stage)), targets)
        return total / (1 + sum(self.weights))


@torch.no_grad()
def stage_channels(network: Network, shape: Sequence[int]) -> list[int]:
    """Channels of the four stage maps, from one forward pass of an empty volume of `shape` (C, D, H, W)."""
    was_training = network.training
    device = next(network.parameters()).device
    stages = network.eval().forward_stages(torch.zeros(1, *shape, device=device)).stages
    network.train(was_training)
    return [stage.shape[1] for stage in stages]
