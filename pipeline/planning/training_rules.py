"""Rules for training: batch size, length, model and augmentation, each with its reason."""

import math
from collections.abc import Sequence

from pipeline.config.plan import EFFECTIVE_BATCH
from pipeline.planning.cost import Machine, seconds_per_epoch
from pipeline.planning.plan_file import Decision
from pipeline.planning.preprocessing_rules import ANISOTROPIC

SMALL, MEDIUM = 200, 1000
"""A cohort with fewer training patients is small, or of medium size."""
BATCH_SHARE = 0.05
"""Largest batch as a share of the training patients."""
MEMORY_SHARE = 0.5
"""Share of the machine's memory that a batch may fill."""
STEPS_PER_SCAN, MIN_STEPS, MAX_STEPS = 100, 3_000, 40_000
PATIENCE = 0.15
"""Share of the epochs."""
CPU_HOURS = 0.5
"""Longest planned training of one fold without a GPU."""
MEMBERS = ("efficientnet", "coarse_volume", "random_conv_grid", "random_conv")
MASK_MEMBERS = ("shape", "distance_conv", "distance_coarse", "efficientnet")
"""Members of a stack for images and for masks, in the order of their cross-validated accuracy; docs/accuracy.md."""
MEMBER_SPEEDS = {
    **{"efficientnet": 0.8, "coarse_volume": 30.0, "random_conv_grid": 4.0, "random_conv": 1.0},
    **{"shape": 2.5, "distance_conv": 0.8, "distance_coarse": 4.0},
}
"""Input voxels per second, as a share of a training step's of the 3D PoolFormer-S12."""
BUDGET_HOURS = 1.0
"""Default of `time_budget_hours`."""
BYTES_PER_VOXEL = 350
"""Peak of a float32 training step of the 3D PoolFormer-S12 per input voxel, activations and gradients: a batch of two
of 48 x 64 x 64 took 137 MB."""


def plan_batch(num_patients: int, num_voxels: int, machine: Machine) -> Decision[int]:
    """Scans per step."""
    share = max(2, math.floor(BATCH_SHARE * num_patients))
    room = max(1, int(machine.memory_gb * MEMORY_SHARE * 1e9 / (BYTES_PER_VOXEL * num_voxels)))
    batch = min(share, room, EFFECTIVE_BATCH)
    return Decision(
        batch,
        f"between 2 and 5 % of {num_patients} training patients, {room} fit into memory, {EFFECTIVE_BATCH} suffice",
    )


def plan_accumulation(batch_size: int) -> Decision[int]:
    """Steps per update."""
    return Decision(math.ceil(EFFECTIVE_BATCH / batch_size), f"{EFFECTIVE_BATCH} scans or more per update")


def plan_length(num_scans: int, batch_size: int, num_voxels: int, machine: Machine) -> Decision[int]:
    """Epochs."""
    steps, epochs = steps_and_epochs(num_scans, batch_size)
    reason = (
        f"{steps:,} steps: {STEPS_PER_SCAN} for each of {num_scans} training scans, from {MIN_STEPS:,} to {MAX_STEPS:,}"
    )
    if is_cut_short(num_scans, batch_size, num_voxels, machine):
        affordable = affordable_epochs(num_scans, num_voxels, machine)
        return Decision(affordable, f"cut short from {epochs} for a CPU, to about {CPU_HOURS:g} h per fold; {reason}")
    return Decision(epochs, reason)


def steps_and_epochs(num_scans: int, batch_size: int) -> tuple[int, int]:
    """The number of steps that a cohort needs, and the epochs that they take."""
    steps = min(max(STEPS_PER_SCAN * num_scans, MIN_STEPS), MAX_STEPS)
    return steps, max(1, round(steps * batch_size / num_scans))


def affordable_epochs(num_scans: int, num_voxels: int, machine: Machine) -> int:
    """Epochs of CPU_HOURS on this machine."""
    return max(1, int(CPU_HOURS * 3600 / seconds_per_epoch(num_scans, num_voxels, machine)))


def is_cut_short(num_scans: int, batch_size: int, num_voxels: int, machine: Machine) -> bool:
    """Whether a CPU affords fewer epochs than the steps take."""
    epochs = steps_and_epochs(num_scans, batch_size)[1]
    return machine.kind == "cpu" and affordable_epochs(num_scans, num_voxels, machine) < epochs


def plan_length_origin(num_scans: int, batch_size: int, num_voxels: int, machine: Machine) -> Decision[str]:
    """What the epochs of `plan_length` follow from."""
    if is_cut_short(num_scans, batch_size, num_voxels, machine):
        return Decision("cpu_hours", "a larger batch takes as long per scan, so the epochs stay")
    return Decision("steps", "as many steps take more epochs in larger batches")


def plan_patience(max_epochs: int) -> Decision[int]:
    """Epochs without improvement."""
    return Decision(max(1, math.ceil(PATIENCE * max_epochs)), f"{PATIENCE:.0%} of the epochs")


def plan_stem(size: Sequence[int], spacing: Sequence[float]) -> Decision[tuple[int, int, int]]:
    """First downsampling along (D, H, W), for a network that halves its input three more times."""
    strides = tuple(4 if voxels >= 48 else 2 if voxels >= 24 else 1 for voxels in size)
    if spacing[0] >= 2 * min(spacing[1:]):
        return Decision(
            (1, *strides[1:]), "slices are at least twice as thick as their pixels: no early downsampling along D"
        )
    return Decision(strides, "two tokens per axis in the last stage where possible: stride 4 from 48 voxels, 2 from 24")


def plan_time_budget() -> Decision[float]:
    """Hours for the features of a stack."""
    return Decision(BUDGET_HOURS, "an hour by default; members of a stack that would exceed it are left out")


def plan_members(
    modality: str, num_scans: int, num_voxels: int, budget_hours: float, machine: Machine
) -> Decision[tuple[str, ...]]:
    """Members of a stack whose features of all `num_scans` scans take no longer than the budget, the best first."""
    chosen: list[str] = []
    hours = 0.0
    for name in MASK_MEMBERS if modality == "mask" else MEMBERS:
        own = seconds_per_epoch(num_scans, num_voxels, machine) / MEMBER_SPEEDS[name] / 3600
        if hours + own <= budget_hours:
            chosen.append(name)
            hours += own
    kind = "a mask" if modality == "mask" else f"modality {modality}"
    return Decision(
        tuple(chosen), f"for {kind}; about {hours:.2f} h for the features of {num_scans} scans, once for all folds"
    )


def plan_model(num_patients: int, spacing: Sequence[float], members: Sequence[str], machine: Machine) -> Decision[str]:
    """`spacing` is in mm along (D, H, W)."""
    if num_patients < SMALL or machine.kind == "cpu":
        few = f"under {SMALL}: only heads learn" if num_patients < SMALL else "no GPU to train more than heads"
        kind = "stack" if len(members) > 1 else "frozen_2d"
        return Decision(kind, f"{num_patients} training patients, {few}")
    if num_patients <= MEDIUM:
        return Decision("lora_2d", f"{num_patients} training patients, up to {MEDIUM}: slices, low-rank updates")
    if spacing[0] >= ANISOTROPIC * max(spacing[1:]):
        return Decision(
            "lora_2d", f"{num_patients} training patients, but slices {ANISOTROPIC:g} times as thick as pixels"
        )
    return Decision("network_3d", f"{num_patients} training patients, over {MEDIUM}: a 3D network from scratch")


def plan_augmentation(num_patients: int) -> Decision[str]:
    strength = "strong" if num_patients < SMALL else "medium" if num_patients <= MEDIUM else "light"
    return Decision(
        strength, f"{num_patients} training patients: strong under {SMALL}, medium to {MEDIUM}, light above"
    )
