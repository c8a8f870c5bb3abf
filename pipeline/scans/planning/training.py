"""Rules for training that follow from the number of patients, the input's size and the machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Forecast
from pipeline.config.plan import CUT_SHORT, EFFECTIVE_BATCH
from pipeline.scans.planning.rules import ANISOTROPIC, Because

SMALL, MEDIUM = 200, 1000
"""Training patients under which a cohort is small, or of medium size."""
STEPS_A_SCAN, MIN_STEPS, MAX_STEPS = 100, 3_000, 40_000
PATIENCE = 0.15
CPU_HOURS = 0.5
"""Of one fold: longer plans are cut short without a GPU."""
BYTES_A_VOXEL = 350
"""Peak of a float32 training step of the 3D PoolFormer-S12 an input voxel, activations and gradients: 137 MB were
measured for a batch of two of 48 x 64 x 64."""
STORED_BYTES = 2
"""Preprocessed scans are int16."""


@dataclass(frozen=True)
class Machine:
    """Where training will run."""

    kind: str
    """cpu or gpu."""
    memory_gb: float
    voxels_per_second: float
    """Input voxels that one training step of the 3D PoolFormer-S12 works through; a reference rate, not a probe."""

    @property
    def comfortable_voxels(self) -> int:
        """Input that trains in reasonable time."""
        return 64 * 64 * 48 if self.kind == "cpu" else self.most_voxels

    @property
    def most_voxels(self) -> int:
        """Largest input that `auto` plans."""
        return 96**3 if self.kind == "cpu" else int(160**3 * min(1, self.memory_gb / 24))


CPU = Machine("cpu", memory_gb=8, voxels_per_second=1.8e6)
GPU_24 = Machine("gpu", memory_gb=24, voxels_per_second=4e7)


def plan_batch(num_patients: int, num_voxels: int, machine: Machine) -> Because[int]:
    """Scans a step."""
    share = max(2, math.floor(0.05 * num_patients))
    room = max(1, int(machine.memory_gb * 0.5e9 / (BYTES_A_VOXEL * num_voxels)))
    batch = min(share, room, EFFECTIVE_BATCH)
    return Because(
        batch,
        f"between 2 and 5 % of {num_patients} training patients, {room} fit into memory, {EFFECTIVE_BATCH} suffice",
    )


def plan_accumulation(batch_size: int) -> Because[int]:
    return Because(math.ceil(EFFECTIVE_BATCH / batch_size), f"{EFFECTIVE_BATCH} scans or more an update")


def plan_length(num_scans: int, batch_size: int, num_voxels: int, machine: Machine) -> Because[int]:
    """Epochs."""
    steps = min(max(STEPS_A_SCAN * num_scans, MIN_STEPS), MAX_STEPS)
    epochs = max(1, round(steps * batch_size / num_scans))
    reason = (
        f"{steps:,} steps: {STEPS_A_SCAN} for each of {num_scans} training scans, from {MIN_STEPS:,} to {MAX_STEPS:,}"
    )
    affordable = max(1, int(CPU_HOURS * 3600 / seconds_per_epoch(num_scans, num_voxels, machine)))
    if machine.kind == "cpu" and affordable < epochs:
        return Because(affordable, f"{CUT_SHORT} from {epochs} for a CPU, to about {CPU_HOURS:g} h a fold; {reason}")
    return Because(epochs, reason)


def plan_patience(max_epochs: int) -> Because[int]:
    return Because(max(1, math.ceil(PATIENCE * max_epochs)), f"{PATIENCE:.0%} of the epochs")


def plan_model(num_patients: int, spacing: Sequence[float]) -> Because[str]:
    if num_patients < SMALL:
        return Because("frozen_2d", f"{num_patients} training patients, under {SMALL}: only a logistic head learns")
    if num_patients <= MEDIUM:
        return Because("lora_2d", f"{num_patients} training patients, up to {MEDIUM}: slices, low-rank updates")
    if spacing[0] >= ANISOTROPIC * max(spacing[1:]):
        return Because(
            "lora_2d", f"{num_patients} training patients, but slices {ANISOTROPIC:g} times as thick as pixels"
        )
    return Because("network_3d", f"{num_patients} training patients, over {MEDIUM}: a 3D network from scratch")


def plan_augmentation(num_patients: int) -> Because[str]:
    strength = "strong" if num_patients < SMALL else "medium" if num_patients <= MEDIUM else "light"
    return Because(strength, f"{num_patients} training patients: strong under {SMALL}, medium to {MEDIUM}, light above")


def seconds_per_epoch(num_scans: int, num_voxels: int, machine: Machine) -> float:
    return num_scans * num_voxels / machine.voxels_per_second


def forecast(
    num_files: int, num_scans: int, num_voxels: int, batch_size: int, max_epochs: int, machine: Machine
) -> Because[Forecast]:
    """Cost by reference rates, so that the same cohort gives the same plan on a busy machine."""
    seconds = seconds_per_epoch(num_scans, num_voxels, machine)
    return Because(
        Forecast(
            disk_mb=round(num_files * num_voxels * STORED_BYTES / 1e6, 1),
            memory_mb=round(batch_size * num_voxels * BYTES_A_VOXEL / 1e6, 1),
            seconds_per_epoch=round(seconds, 1),
            hours_per_fold=round(seconds * max_epochs / 3600, 2),
        ),
        f"reference rates of the 3D PoolFormer-S12 on a {machine.kind}; `plan --dry-run` probes this machine",
    )
