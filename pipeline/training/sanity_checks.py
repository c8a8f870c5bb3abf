"""Two looks before a long training: can the network learn at all, and at which rate? Neither writes anything.

They make updates as the training does, on its device and in its precision; those of the probe are of as many scans,
of which one process does the share of all.
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
from pipeline.core.errors import did_you_mean
from pipeline.data.dataset import Batch, ScanDataset
from pipeline.models import Network
from pipeline.training.callbacks import FakeQuantizedWeights
from pipeline.training.distributed import num_processes
from pipeline.training.fold_data import Fold
from pipeline.training.module import Classifier
from pipeline.training.optim import build_optimizer
from pipeline.training.trainer import build_classifier, device_of, explain_oom

log = logging.getLogger(__name__)
OVERFIT_STEPS, LEARNT = 100, 0.1
"""Updates on one batch, and the share of the first loss that counts as learnt by heart."""
RATES, RATE_STEPS = (1e-6, 1e-1), 60
"""Range that the probe goes through, by equal factors."""
SMOOTHING, DIVERGED = 0.9, 4.0
"""Share of the earlier steps in the probe's loss, and the factor over its least value at which it stops."""


def run_check(name: str, network: Network, fold: Fold, config: Config) -> None:
    """One of the checks by its name; a network that does not pass is a ValueError."""
    checks = {"overfit": overfit_one_batch, "rate": probe_rates}
    if name not in checks:
        raise ValueError(f"--check: unknown check '{name}'.{did_you_mean(name, checks)} Known: {', '.join(checks)}.")
    with explain_oom(fold.training):
        checks[name](Updates(build_classifier(network, fold, config)), fold)


class Updates:
    """Updates of a classifier as the trainer makes them."""

    def __init__(self, classifier: Classifier) -> None:
        self.settings = classifier.training_settings
        self.device = device_of(self.settings)
        self.classifier = classifier.train().to(self.device)
        self.rounded = FakeQuantizedWeights(classifier.network) if self.settings.quantization_aware else None
        self.optimizer = build_optimizer(
            classifier.network, self.settings.optimizer, learning_rate=self.settings.learning_rate, weight_decay=0.0
        )

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def __call__(self, batches: Sequence[Batch]) -> float:
        """One update by the mean gradient of the batches; returns their mean loss before it."""
        self.optimizer.zero_grad()
        with self.rounded.in_place() if self.rounded else nullcontext():
            losses = [self.backward(batch, len(batches)) for batch in batches]
        torch.nn.utils.clip_grad_norm_(self.classifier.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        return sum(losses) / len(losses)

    def backward(self, batch: Batch, num_batches: int) -> float:
        volumes, labels = batch["volume"].to(self.device), batch["label"].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16-mixed"):
            loss: Tensor = self.classifier.loss(self.classifier(volumes), labels)
        (loss / num_batches).backward()
        return float(loss.detach())


def overfit_one_batch(updates: Updates, fold: Fold) -> None:
    """Learn one unaugmented batch with scans of every class by heart, as any sound network and labels allow."""
    batch = [mixed_batch(fold)]
    first = loss = updates(batch)
    for step in range(2, OVERFIT_STEPS + 1):
        loss = updates(batch)
        if loss <= LEARNT * first:
            log.info("one batch of %d scans learnt by heart: loss %.3f to %.3f in %d updates",
                     len(batch[0]["scan_id"]), first, loss, step)  # fmt: skip
            return
    raise ValueError(
        f"overfit: after {OVERFIT_STEPS} updates on one batch the loss is {loss:.3f}, it was {first:.3f}, expected "
        f"{LEARNT * first:.3f} or less; find a rate with --check rate, take out dropout and label smoothing, or look "
        "at the labels and the prepared scans."
    )


def probe_rates(updates: Updates, fold: Fold) -> None:
    """Raise the learning rate from update to update and say where the loss falls fastest (arXiv:1506.01186)."""
    losses = losses_by_rate(updates, fold)
    rates = list(losses)
    for rate in rates[:: max(1, len(rates) // 12)]:
        log.info("rate %.1e  loss %.3f", rate, losses[rate])
    best = steepest(losses)
    if best is None:
        raise ValueError(f"rate: the loss falls at none from {RATES[0]:g} to {RATES[1]:g}; try --check overfit first.")
    chosen = fold.training.learning_rate
    least = min(losses, key=losses.__getitem__)
    log.info("the loss falls fastest at %.1e and is least at %.1e; training.learning_rate is %.1e", best, least, chosen)


def losses_by_rate(updates: Updates, fold: Fold) -> dict[float, float]:
    """Smoothed loss at each rate, until it runs away."""
    batches, batches_an_update = endless(fold), fold.training.accumulate * num_processes(fold.training)
    found: dict[float, float] = {}
    smoothed = 0.0
    for step in range(RATE_STEPS):
        rate = RATES[0] * (RATES[1] / RATES[0]) ** (step / (RATE_STEPS - 1))
        updates.set_rate(rate)
        loss = updates(list(islice(batches, batches_an_update)))
        smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
        unbiased = smoothed / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(loss) or found and unbiased > DIVERGED * min(found.values()):
            break
        found[rate] = unbiased
    return found


def steepest(losses: dict[float, float]) -> float | None:
    """The rate at which the loss falls fastest on the way to its least value; None where it never falls."""
    rates, values = list(losses), list(losses.values())
    least = values.index(min(values))
    falls = {rates[step]: values[step - 1] - values[step] for step in range(1, least + 1)}
    return max(falls, key=falls.__getitem__) if falls and max(falls.values()) > 0 else None


def mixed_batch(fold: Fold) -> Batch:
    """The first training scans of each label in turn, unaugmented."""
    table = fold.scans.tables[TRAIN]
    in_turn = table.assign(turn=table.groupby(LABEL).cumcount()).sort_values("turn", kind="stable")
    scans = ScanDataset(fold.scans.datasets[TRAIN].store, in_turn, standards=fold.plan.standards)
    return scans.__getitems__([(0, row) for row in range(min(len(scans), max(2, fold.training.batch_size)))])


def endless(fold: Fold) -> Iterator[Batch]:
    """Training batches, epoch after epoch."""
    while True:
        yield from fold.scans.train_dataloader()
