"""The machine that trains, and what a plan costs on it by reference rates."""

import math
from dataclasses import dataclass

from pipeline.config import CostEstimate
from pipeline.planning.plan_file import Decision

STORED_BYTES = 2
"""Per voxel: preprocessed scans are int16."""


@dataclass(frozen=True)
class Machine:
    """Where training will run."""

    kind: str
    """cpu or gpu."""
    memory_gb: float
    voxels_per_second: float
    """Input voxels that a training step of the 3D PoolFormer-S12 processes; a reference rate, not a measurement."""

    @property
    def comfortable_voxels(self) -> int:
        """Input size that trains in reasonable time."""
        return 64 * 64 * 48 if self.kind == "cpu" else self.most_voxels

    @property
    def most_voxels(self) -> int:
        """Largest input size that `auto` plans."""
        return 96**3 if self.kind == "cpu" else int(160**3 * min(1, self.memory_gb / 24))


CPU = Machine("cpu", memory_gb=8, voxels_per_second=1.8e6)
GPU_24 = Machine("gpu", memory_gb=24, voxels_per_second=4e7)


def local_machine() -> Machine:
    """The first GPU of this machine, else the reference CPU: the number of free cores must not change a plan."""
    import torch

    if not torch.cuda.is_available():
        return CPU
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return Machine("gpu", memory_gb=round(memory_gb), voxels_per_second=GPU_24.voxels_per_second)


@dataclass(frozen=True)
class ReferenceCost:
    """Cost of a model that the rules recommend, measured by `plan preview` on two inputs of 48 x 64 x 64."""

    weights_mb: float
    """Weights, and the gradients and two optimizer moments of those that are trained."""
    bytes_per_voxel: float
    """Further memory per input voxel that is processed at once."""
    speed: float
    """Input voxels per second, as a share of the 3D PoolFormer-S12's."""
    slices_at_once: int | None = None
    """Out of all slices of a batch; None is the whole batch."""
    is_read_once: bool = False
    """Features that do not change are computed in one pass."""


STEM = (4, 4, 4)
"""Stride of the 3D PoolFormer-S12 that was measured."""
REFERENCES = {
    "network_3d": ReferenceCost(weights_mb=244, bytes_per_voxel=480, speed=1),
    "lora_2d": ReferenceCost(weights_mb=20, bytes_per_voxel=3900, speed=0.1, slices_at_once=16),
    "stack": ReferenceCost(weights_mb=16, bytes_per_voxel=830, speed=0.35, slices_at_once=16, is_read_once=True),
    "frozen_2d": ReferenceCost(weights_mb=14, bytes_per_voxel=830, speed=0.8, slices_at_once=16, is_read_once=True),
}


@dataclass(frozen=True)
class Workload:
    """What a plan asks of a machine."""

    model: str
    num_files: int
    """Scans to preprocess."""
    num_channels: int
    """Of the input; all of them are stored."""
    num_scans: int
    """Training scans of one fold."""
    size_voxels: tuple[int, int, int]
    stem_stride: tuple[int, int, int]
    batch_size: int
    max_epochs: int


def estimate_cost(work: Workload, machine: Machine) -> Decision[CostEstimate]:
    """Cost by reference rates, so that a cohort gets the same plan on a busy machine."""
    reference = REFERENCES[work.model]
    # A finer stem makes proportionally more tokens of each voxel.
    finer = math.prod(STEM) / math.prod(work.stem_stride) if work.model == "network_3d" else 1
    num_voxels, num_slices = math.prod(work.size_voxels), work.batch_size * work.size_voxels[0]
    seconds = seconds_per_epoch(work.num_scans, num_voxels, machine) * finer / reference.speed
    at_once = min(num_slices, reference.slices_at_once or num_slices) * math.prod(work.size_voxels[1:])
    return Decision(
        CostEstimate(
            disk_mb=round(work.num_files * work.num_channels * num_voxels * STORED_BYTES / 1e6, 2),
            memory_mb=round(reference.weights_mb + at_once * finer * reference.bytes_per_voxel / 1e6, 1),
            seconds_per_epoch=round(seconds, 1),
            hours_per_fold=round(seconds * (1 if reference.is_read_once else work.max_epochs) / 3600, 2),
        ),
        f"reference rates of {work.model} on a {machine.kind}; `plan preview` measures this machine",
    )


def seconds_per_epoch(num_scans: int, num_voxels: int, machine: Machine) -> float:
    """Of the 3D PoolFormer-S12, on inputs of `num_voxels` voxels."""
    return num_scans * num_voxels / machine.voxels_per_second
