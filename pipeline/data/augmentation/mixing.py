"""Mixup and cutmix: each training scan of a batch with a share of another one, in voxels and in labels.

    mixer = Mixer(mixup=0.2, cutmix=1.0, seed=config.seed)
    if mixer.is_on:
        volumes, targets = mixer(batch["image"], one_hot, epoch=epoch, scan_ids=batch["scan_id"])

Axes: B batch, C channels, D H W depth height width, K classes. It works where the tensors are, so that a GPU mixes what
is on it already; every choice is drawn on the CPU from (seed, epoch, scan), so that no device or worker changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.data.rng import mixing_rng

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Mixer:
    """Mixup (arXiv:1710.09412) and cutmix (arXiv:1905.04899) for volumes, each scan with a partner of its own batch.

    The share kept is drawn from Beta(alpha, alpha); where both are on, each scan takes one of the two by even chance.
    """

    mixup: float = 0.0
    """Alpha of blending whole volumes; 0 is off."""
    cutmix: float = 0.0
    """Alpha of pasting in a box of the partner; 0 is off."""
    seed: int = 0

    @property
    def is_on(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def __call__(
        self, volumes: Tensor, targets: Tensor, *, epoch: int, scan_ids: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Mixed copies of volumes (B, C, D, H, W) and targets (B, K), which are one-hot, multi-label or soft.

        A batch of one scan has no partner and comes back as it is.
        """
        if not self.is_on or len(volumes) < 2:
            return volumes, targets
        mixed, soft = volumes.clone(), targets.to(torch.float32).clone()
        for row, scan_id in enumerate(scan_ids):
            rng = mixing_rng(self.seed, epoch, scan_id)
            # One draw whatever the batch's size, so that what follows does not depend on it.
            partner = (row + 1 + int(rng.random() * (len(volumes) - 1))) % len(volumes)
            kept = self.mix_one(mixed[row], volumes[partner], rng)
            soft[row] = kept * soft[row] + (1 - kept) * targets[partner]
        return mixed, soft

    def mix_one(self, volume: Tensor, partner: Tensor, rng: np.random.Generator) -> float:
        """Mix a partner (C, D, H, W) into a volume in place; returns the share of the volume that is kept."""
        cuts = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        if not cuts:
            kept = float(rng.beta(self.mixup, self.mixup))
            volume.mul_(kept).add_(partner, alpha=1 - kept)
            return kept
        box = draw_box(volume.shape[1:], 1 - float(rng.beta(self.cutmix, self.cutmix)), rng)
        volume[:, *box] = partner[:, *box]
        # The label follows the voxels that really came over: the box was cut at the border and to whole voxels.
        return 1 - volume[:, *box][0].numel() / volume[0].numel()


def draw_box(shape: Sequence[int], share: float, rng: np.random.Generator) -> Box:
    """A box of the volume's proportions around a random voxel that takes `share` of it, or less at the border."""
    edge = share ** (1 / 3)
    return tuple(draw_side(size, round(edge * size), rng) for size in shape)


def draw_side(size: int, width: int, rng: np.random.Generator) -> slice:
    """`width` voxels around a random one, cut at the ends of the axis."""
    start = int(rng.integers(size)) - width // 2
    return slice(max(0, start), max(0, min(size, start + width)))
