"""The rules of the plan, each from measurements to a decision and its reason in words.

Sizes and spacings are along (D, H, W) once an orientation is chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from pipeline.config import Intensity, Rescale, Unchanged, Window, ZScore
from pipeline.scans.planning.fingerprint import Geometry, Voxels

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
