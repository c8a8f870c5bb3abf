"""Planning rules: each setting with its reason, from geometry, intensity, cohort size and machine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from pipeline.config import Forecast, Intensity, Rescale, Unchanged, Window, ZScore
from pipeline.config.plan import CUT_SHORT, EFFECTIVE_BATCH
from pipeline.planning.fingerprint import Geometry, Voxels

Decision = TypeVar("Decision")

ANISOTROPIC = 3.0
"""Coarsest over finest spacing from which slices are the natural unit."""
ORIENTATIONS = {2: "SPL", 1: "AIL", 0: "LIP"}
"""Anatomical axis of the slices: axial and coronal in radiological view, sagittal facing left."""
MARGIN = 1.05
"""Around the body's box."""
FULL = 0.9
"""Share of the field of view from which there is nothing to crop."""
MULTIPLE = 8
"""Input sizes are multiples of this, so that three halvings leave no remainder."""
MAX_COARSENING = 2.0
"""More would lose what a doctor looks at; then a region must be named."""


@dataclass(frozen=True)
class Because(Generic[Decision]):
    """A decision and its reason."""

    value: Decision
    reason: str


def plan_orientation(geometry: Geometry) -> Because[str]:
    spacing = np.median(geometry.spacing, axis=0)
    ratio = spacing.max() / spacing.min()
    if ratio < ANISOTROPIC:
        return Because("SPL", f"voxels are nearly cubes (spacing ratio {ratio:.1f}): axial slices in radiological view")
    coarsest = int(spacing.argmax())
    name = ("sagittal", "coronal", "axial")[coarsest]
    return Because(
        ORIENTATIONS[coarsest], f"{name} acquisition: {spacing[coarsest]:.2g} mm between slices, D goes along them"
    )


def plan_intensity(modality: str) -> Because[Intensity]:
    """Raises ValueError for PET, whose unit no file states."""
    match modality:
        case "CT":
            return Because(
                Window(scheme="window", window_hu=(-1000, 1000)), "CT without a declared region: -1000 to 1000 HU"
            )
        case "MR":
            return Because(
                ZScore(scheme="zscore"), "MR has no unit: z-score of the foreground within percentiles 0.5 and 99.5"
            )
        case "mask":
            return Because(
                Unchanged(scheme="unchanged"), "a mask is resampled to its occupancy, which has meaning already"
            )
        case "PET":
            raise ValueError(
                "preprocess.intensity: auto cannot scale PET, got files that do not state their unit; "
                "convert to SUV and set {scheme: suv}, with window_suv: [0, 3] for the brain, or {scheme: rescale}."
            )
    return Because(Rescale(scheme="rescale"), "unknown modality: percentiles 0.5 and 99.5 of the foreground to 0..1")


def check_modality(modality: str, voxels: Sequence[Voxels]) -> None:
    """The declared modality does not contradict the voxels. Raises ValueError with the scan that does."""
    for scan in voxels:
        if modality == "mask" and not scan.is_binary:
            raise ValueError(
                f"scan {scan.scan_id}: modality mask, got more than two values; say what it is in `modality`."
            )
        if modality not in ("mask", "other") and scan.is_binary and scan.low < scan.high:
            raise ValueError(f"scan {scan.scan_id}: modality {modality}, got only two values; set `modality: mask`.")
        if modality == "CT" and scan.low >= 0:
            raise ValueError(
                f"scan {scan.scan_id}: modality CT, got no value under 0 where air is -1000 HU; "
                "convert to HU, or set preprocess.intensity."
            )
        if modality == "MR" and scan.low <= -900:
            raise ValueError(f"scan {scan.scan_id}: modality MR, got {scan.low:g} as of air in CT; set `modality: CT`.")


def plan_spacing(geometry: Geometry) -> Because[np.ndarray]:
    """Median an axis; a coarse axis of few voxels takes its 10th percentile, as nnU-Net does."""
    spacing, shape = np.median(geometry.spacing, axis=0), np.median(geometry.shape, axis=0)
    coarse = int(spacing.argmax())
    others = [axis for axis in range(3) if axis != coarse]
    is_coarse = spacing[coarse] > ANISOTROPIC * spacing[others].max()
    if not (is_coarse and shape[coarse] * ANISOTROPIC < shape[others].min()):
        return Because(spacing, f"median of {len(geometry.spacing)} scans")
    finer = max(float(np.percentile(geometry.spacing[:, coarse], 10)), float(spacing[others].max()))
    spacing[coarse] = finer
    return Because(
        spacing, f"median of {len(geometry.spacing)} scans; along {'DHW'[coarse]}, which is coarse, the 10th percentile"
    )


def plan_crop(geometry: Geometry, body_mm: np.ndarray) -> Because[str]:
    """`body_mm` (num_measured, 3) are boxes of the body, along the same axes as `geometry`."""
    share = np.minimum(1, np.percentile(body_mm, 95, axis=0) / np.median(geometry.extent_mm, axis=0))
    if (share >= FULL).all():
        return Because(
            "center", f"the body fills the scan ({share.min():.0%} or more along each axis): nothing to crop"
        )
    return Because(
        "foreground", f"the body takes {share.min():.0%} of the scan along one axis: empty space is left out"
    )


def size_of(extent_mm: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Voxels (3,) that cover an extent, as multiples of MULTIPLE."""
    return (np.ceil(extent_mm / spacing / MULTIPLE - 1e-6) * MULTIPLE).astype(int)


def coarsen(spacing: Because[np.ndarray], fits: Callable[[np.ndarray], bool], into: str) -> Because[np.ndarray]:
    """Raise the finest axes by up to MAX_COARSENING until the input fits; at that limit it may still not fit."""
    for factor in np.arange(1, MAX_COARSENING + 0.01, 0.05):
        raised = np.round(np.maximum(spacing.value, spacing.value.min() * factor), 2)
        if fits(raised):
            break
    if factor == 1:
        return Because(raised, spacing.reason)
    return Because(raised, f"{spacing.reason}; the finest axis made {factor:.2f} times coarser to fit {into}")


def plan_stem(size: Sequence[int], spacing: Sequence[float]) -> Because[tuple[int, int, int]]:
    """First downsampling an axis, of a network that halves three times after it."""
    anisotropic = spacing[0] >= 2 * min(spacing[1:])
    strides = tuple(4 if voxels >= 48 else 2 if voxels >= 24 else 1 for voxels in size)
    if anisotropic:
        return Because(
            (1, *strides[1:]), "slices are at least twice as thick as their pixels: no early downsampling along D"
        )
    return Because(
        strides, "two tokens an axis in the last stage where the input has them: stride 4 from 48 voxels, 2 from 24"
    )


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


@dataclass(frozen=True)
class Reference:
    """What a model that can be recommended costs, measured by `plan --dry-run` on two inputs of 48 x 64 x 64."""

    weights_mb: float
    """Weights, their gradients and an optimiser's two moments of those that learn."""
    bytes_a_voxel: float
    """More for each input voxel that is worked on at once."""
    speed: float
    """Input voxels a second, as a share of the 3D PoolFormer-S12's."""
    slices_at_once: int | None = None
    """Of all slices of a batch; None is the whole batch."""
    is_read_once: bool = False
    """Features that do not change are computed in one pass."""


STEM = (4, 4, 4)
"""Stride of the 3D PoolFormer-S12 that the references are of."""
REFERENCES = {
    "network_3d": Reference(weights_mb=244, bytes_a_voxel=480, speed=1),
    "lora_2d": Reference(weights_mb=20, bytes_a_voxel=3900, speed=0.1, slices_at_once=16),
    "frozen_2d": Reference(weights_mb=14, bytes_a_voxel=830, speed=0.8, slices_at_once=16, is_read_once=True),
}


@dataclass(frozen=True)
class Work:
    """What a plan asks of a machine."""

    model: str
    num_files: int
    """Scans to prepare."""
    num_channels: int
    """Of the input, which are all stored."""
    num_scans: int
    """Training scans of a fold."""
    size_voxels: tuple[int, int, int]
    stem_stride: tuple[int, int, int]
    batch_size: int
    max_epochs: int


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


def forecast(work: Work, machine: Machine) -> Because[Forecast]:
    """Cost by reference rates, so that the same cohort gives the same plan on a busy machine."""
    reference = REFERENCES[work.model]
    # A finer stem makes so many more tokens of a voxel.
    finer = math.prod(STEM) / math.prod(work.stem_stride) if work.model == "network_3d" else 1
    num_voxels, num_slices = math.prod(work.size_voxels), work.batch_size * work.size_voxels[0]
    seconds = seconds_per_epoch(work.num_scans, num_voxels, machine) * finer / reference.speed
    at_once = min(num_slices, reference.slices_at_once or num_slices) * math.prod(work.size_voxels[1:])
    return Because(
        Forecast(
            disk_mb=round(work.num_files * work.num_channels * num_voxels * STORED_BYTES / 1e6, 2),
            memory_mb=round(reference.weights_mb + at_once * finer * reference.bytes_a_voxel / 1e6, 1),
            seconds_per_epoch=round(seconds, 1),
            hours_per_fold=round(seconds * (1 if reference.is_read_once else work.max_epochs) / 3600, 2),
        ),
        f"reference rates of {work.model} on a {machine.kind}; `plan --dry-run` probes this machine",
    )


def machine_at_hand() -> Machine:
    """Its first GPU, else the reference CPU: how many cores happen to be free must not change a plan."""
    import torch

    if not torch.cuda.is_available():
        return CPU
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return Machine("gpu", memory_gb=round(memory_gb), voxels_per_second=GPU_24.voxels_per_second)
