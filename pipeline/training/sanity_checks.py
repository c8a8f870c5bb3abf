"""Sanity checks before a long training: can the network learn at all, and at which rate? They write no files.

Updates are those of the training, on its device and in its precision; a single process computes those of all.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice

import torch
from torch import Tensor

from pipeline.config import Config
from pipeline.core.columns import LABEL, TRAIN
from pipeline.data.dataset import Batch, ScanDataset
from pipeline.models import Network
from pipeline.training.callbacks import FakeQuantizedWeights
from pipeline.training.distributed import num_processes
from pipeline.training.errors import explain_oom
from pipeline.training.fold_data import Fold
from pipeline.training.module import Classifier
from pipeline.training.optim import build_optimizer
from pipeline.training.trainer import build_classifier, training_device

log = logging.getLogger(__name__)
OVERFIT_UPDATES, OVERFIT_FRACTION = 100, 0.1
"""Updates on one batch, and the fraction of the first loss at which it counts as overfit."""
RATE_RANGE, NUM_RATES = (1e-6, 1e-1), 60
"""Learning rates that are tried, by equal factors."""
SMOOTHING, DIVERGED = 0.9, 4.0
"""Weight of the earlier steps in the smoothed loss, and the factor over its minimum at which the search stops."""


def run_sanity_check(name: str, network: Network, fold: Fold, config: Config) -> None:
    """Run `overfit_batch` or `lr_finder`; a network that fails the check is a ValueError."""
    check = {"overfit_batch": overfit_batch, "lr_finder": lr_finder}[name]
    with explain_oom(fold.training):
        check(Updater(build_classifier(network, fold, config)), fold)


class Updater:
    """Updates of a classifier as the trainer makes them."""

    def __init__(self, classifier: Classifier) -> None:
        self.settings = classifier.training_settings
        self.device = training_device(self.settings)
        self.classifier = classifier.train().to(self.device)
        self.quantized = FakeQuantizedWeights(classifier.network) if self.settings.quantization_aware else None
        self.optimizer = build_optimizer(
            classifier.network, self.settings.optimizer, learning_rate=self.settings.learning_rate, weight_decay=0.0
        )

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def __call__(self, batches: Sequence[Batch]) -> float:
        """One update by the mean gradient of the batches; returns their mean loss before it."""
        self.optimizer.zero_grad()
        with self.quantized.swapped_in() if self.quantized else nullcontext():
            losses = [self.backward(batch, len(batches)) for batch in batches]
        torch.nn.utils.clip_grad_norm_(self.classifier.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        return sum(losses) / len(losses)

    def backward(self, batch: Batch, num_batches: int) -> float:
        volumes, labels = batch["image"].to(self.device), batch["label"].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16-mixed"):
            loss: Tensor = self.classifier.loss(self.classifier(volumes), labels)
        (loss / num_batches).backward()
        return float(loss.detach())


def overfit_batch(update: Updater, fold: Fold) -> None:
    """Overfit one unaugmented batch with scans of every class, which any sound network and labels allow."""
    batch = [stratified_batch(fold)]
    first = loss = update(batch)
    for step in range(2, OVERFIT_UPDATES + 1):
        loss = update(batch)
        if loss <= OVERFIT_FRACTION * first:
            log.info("overfit one batch of %d scans: loss %.3f to %.3f in %d updates",
                     len(batch[0]["scan_id"]), first, loss, step)  # fmt: skip
            return
    raise ValueError(
        f"overfit_batch: after {OVERFIT_UPDATES} updates on one batch the loss is {loss:.3f}, it was {first:.3f}, "
        f"expected {OVERFIT_FRACTION * first:.3f} or less; find a rate with lr_finder, disable dropout and label "
        "smoothing, or inspect the labels and the preprocessed scans."
    )


def lr_finder(update: Updater, fold: Fold) -> None:
    """Raise the learning rate from update to update and log where the loss falls fastest (arXiv:1506.01186)."""
    losses = losses_by_rate(update, fold)
    rates = list(losses)
    for rate in rates[:: max(1, len(rates) // 12)]:
        log.info("rate %.1e  loss %.3f", rate, losses[rate])
    best = steepest(losses)
    if best is None:
        raise ValueError(
            f"lr_finder: the loss falls at no rate from {RATE_RANGE[0]:g} to {RATE_RANGE[1]:g}; "
            "try overfit_batch first."
        )
    current = fold.training.learning_rate
    lowest = min(losses, key=losses.__getitem__)
    log.info(
        "the loss falls fastest at %.1e and is lowest at %.1e; training.learning_rate is %.1e", best, lowest, current
    )


def losses_by_rate(update: Updater, fold: Fold) -> dict[float, float]:
    """Smoothed loss at each rate, until it diverges."""
    batches, batches_per_update = endless_batches(fold), fold.training.accumulate * num_processes(fold.training)
    losses: dict[float, float] = {}
    smoothed = 0.0
    for step in range(NUM_RATES):
        rate = RATE_RANGE[0] * (RATE_RANGE[1] / RATE_RANGE[0]) ** (step / (NUM_RATES - 1))
        update.set_rate(rate)
        loss = update(list(islice(batches, batches_per_update)))
        smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
        unbiased = smoothed / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(loss) or losses and unbiased > DIVERGED * min(losses.values()):
            break
        losses[rate] = unbiased
    return losses


def steepest(losses: dict[float, float]) -> float | None:
    """The rate at which the loss falls fastest on the way to its minimum; None if it never falls."""
    rates, values = list(losses), list(losses.values())
    lowest = values.index(min(values))
    falls = {rates[step]: values[step - 1] - values[step] for step in range(1, lowest + 1)}
    return max(falls, key=falls.__getitem__) if falls and max(falls.values()) > 0 else None


def stratified_batch(fold: Fold) -> Batch:
    """The first training scans of each label in turn, unaugmented."""
    table = fold.scans.tables[TRAIN]
    alternating = table.assign(turn=table.groupby(LABEL).cumcount()).sort_values("turn", kind="stable")
    scans = ScanDataset(fold.scans.datasets[TRAIN].store, alternating, standards=fold.plan.standards)
    return scans.__getitems__([(0, row) for row in range(min(len(scans), max(2, fold.training.batch_size)))])


def endless_batches(fold: Fold) -> Iterator[Batch]:
    """Training batches, epoch after epoch."""
    while True:
        yield from fold.scans.train_dataloader()
