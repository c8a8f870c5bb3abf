"""Rules for preprocessing: orientation, spacing, size, crop and intensity, each with its reason."""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.config import Intensity, Rescale, Unchanged, Window, ZScore
from pipeline.planning.cost import Machine
from pipeline.planning.fingerprint import Geometry, Voxels
from pipeline.planning.plan_file import Decision, Decisions

ANISOTROPIC = 3.0
"""Ratio of the coarsest to the finest spacing from which slices are the natural unit."""
ORIENTATIONS = {2: "SPL", 1: "AIL", 0: "LIP"}
"""Orientation by the number of the slice axis among R, A, S: axial and coronal in radiological view, sagittal facing
left."""
MARGIN = 1.05
"""Factor on the size of the body's box."""
FULL = 0.9
"""Share of the field of view from which cropping is not worth it."""
SIZE_MULTIPLE = 8
"""Input sizes are multiples of this, so that three halvings leave no remainder."""
MAX_COARSENING = 2.0
"""Coarser voxels would lose detail that a reader needs; then the user must name a region."""


def plan_orientation(geometry: Geometry) -> Decision[str]:
    """D along the coarsest axis if the voxels are anisotropic, else axial slices."""
    spacing = np.median(geometry.spacing, axis=0)
    ratio = spacing.max() / spacing.min()
    if ratio < ANISOTROPIC:
        return Decision(
            "SPL", f"voxels are nearly cubes (spacing ratio {ratio:.1f}): axial slices in radiological view"
        )
    coarsest = int(spacing.argmax())
    name = ("sagittal", "coronal", "axial")[coarsest]
    return Decision(
        ORIENTATIONS[coarsest], f"{name} acquisition: {spacing[coarsest]:.2g} mm between slices; D runs across them"
    )


def plan_crop(geometry: Geometry, body_mm: np.ndarray) -> Decision[str]:
    """`body_mm` (num_measured, 3) are extents of bodies, along the same axes as `geometry`."""
    share = np.minimum(1, np.percentile(body_mm, 95, axis=0) / np.median(geometry.extent_mm, axis=0))
    if (share >= FULL).all():
        return Decision(
            "center", f"the body fills the scan ({share.min():.0%} or more along each axis): nothing to crop"
        )
    return Decision(
        "foreground", f"the body fills {share.min():.0%} of the scan along one axis: empty space is left out"
    )


def covered_extent_mm(crop: str, geometry: Geometry, body_mm: np.ndarray) -> np.ndarray:
    """The extent (3,) that the input should cover: nearly all bodies with a margin, or nearly all scans."""
    if crop in ("foreground", "mask"):
        return np.minimum(MARGIN * np.percentile(body_mm, 95, axis=0), geometry.extent_mm.max(axis=0))
    return np.percentile(geometry.extent_mm, 95, axis=0)


def plan_spacing_and_size(
    extent_mm: np.ndarray, geometry: Geometry, max_voxels: int | str, machine: Machine, fixed: Decisions
) -> tuple[Decision[tuple[float, ...]], Decision[tuple[int, ...]]]:
    """Spacing and size along (D, H, W) that cover `extent_mm` within the limits of the machine.

    `fixed` are decisions that the rules must keep. Raises ValueError if the voxels would be too coarse.
    """
    comfortable, most = (machine.comfortable_voxels, machine.most_voxels) if max_voxels == "auto" else (max_voxels,) * 2
    given_size, spacing = fixed.get("size_voxels"), plan_spacing(geometry)
    if "spacing_mm" in fixed:
        spacing = Decision(np.array(fixed["spacing_mm"].value), fixed["spacing_mm"].reason)
    elif given_size:
        spacing = coarsen(spacing, lambda coarser: (coarser * given_size.value >= extent_mm).all(), "the given size")
    else:
        spacing = coarsen(
            spacing,
            lambda coarser: covering_size(extent_mm, coarser).prod() <= comfortable,
            f"{comfortable:,} voxels ({machine.kind})",
        )
    size = given_size or plan_size(extent_mm, spacing.value, most)
    return (
        Decision(tuple(float(mm) for mm in spacing.value), spacing.reason),
        Decision(tuple(int(voxels) for voxels in size.value), size.reason),
    )


def plan_spacing(geometry: Geometry) -> Decision[np.ndarray]:
    """Median per axis; a coarse axis with few voxels takes its 10th percentile, as in nnU-Net."""
    spacing, shape = np.median(geometry.spacing, axis=0), np.median(geometry.shape, axis=0)
    coarse = int(spacing.argmax())
    others = [axis for axis in range(3) if axis != coarse]
    is_coarse = spacing[coarse] > ANISOTROPIC * spacing[others].max()
    if not (is_coarse and shape[coarse] * ANISOTROPIC < shape[others].min()):
        return Decision(spacing, f"median of {len(geometry.spacing)} scans")
    finer = max(float(np.percentile(geometry.spacing[:, coarse], 10)), float(spacing[others].max()))
    spacing[coarse] = finer
    return Decision(
        spacing, f"median of {len(geometry.spacing)} scans; along {'DHW'[coarse]}, which is coarse, the 10th percentile"
    )


def coarsen(spacing: Decision[np.ndarray], fits: Callable[[np.ndarray], bool], target: str) -> Decision[np.ndarray]:
    """Coarsen the finest axes, by up to MAX_COARSENING, until the input fits; at that limit it may still not fit."""
    for factor in np.arange(1, MAX_COARSENING + 0.01, 0.05):
        coarser = np.round(np.maximum(spacing.value, spacing.value.min() * factor), 2)
        if fits(coarser):
            break
    if factor == 1:
        return Decision(coarser, spacing.reason)
    return Decision(coarser, f"{spacing.reason}; the finest axis made {factor:.2f} times coarser to fit {target}")


def plan_size(extent_mm: np.ndarray, spacing: np.ndarray, most: int) -> Decision[np.ndarray]:
    """The size that covers an extent. Raises ValueError above `most` voxels."""
    size = covering_size(extent_mm, spacing)
    extent = " x ".join(f"{mm:.0f}" for mm in extent_mm)
    if size.prod() > most:
        raise ValueError(
            f"preprocess.size_voxels: auto cannot cover {extent} mm at {' x '.join(f'{mm:g}' for mm in spacing)} mm, "
            f"got {size.prod():,} voxels, expected at most {most:,}; name a region by size_voxels, or accept coarser "
            f"voxels by spacing_mm, such as {1.1 * (extent_mm.prod() / most) ** (1 / 3):.1f}, or raise max_voxels."
        )
    return Decision(size, f"covers {extent} mm, the 95th percentile of development scans; smaller ones are padded")


def covering_size(extent_mm: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Voxels (3,) that cover an extent, as multiples of SIZE_MULTIPLE."""
    return (np.ceil(extent_mm / spacing / SIZE_MULTIPLE - 1e-6) * SIZE_MULTIPLE).astype(int)


def plan_intensity(modality: str) -> Decision[Intensity]:
    """The scheme for a modality. Raises ValueError for PET: image files do not state its unit."""
    match modality:
        case "CT":
            return Decision(
                Window(scheme="window", window_hu=(-1000, 1000)), "CT without a declared region: -1000 to 1000 HU"
            )
        case "MR":
            return Decision(
                ZScore(scheme="zscore"), "MR has no unit: z-score of the foreground within percentiles 0.5 and 99.5"
            )
        case "mask":
            return Decision(
                Unchanged(scheme="unchanged"), "a mask is resampled to its occupancy, which needs no scaling"
            )
        case "PET":
            raise ValueError(
                "preprocess.intensity: auto cannot scale PET, got files that do not state their unit; "
                "convert to SUV and set {scheme: suv}, with window_suv: [0, 3] for the brain, or {scheme: rescale}."
            )
    return Decision(Rescale(scheme="rescale"), "unknown modality: percentiles 0.5 and 99.5 of the foreground to 0..1")


def check_modality(modality: str, voxels: Sequence[Voxels]) -> None:
    """Raise ValueError for a scan whose voxels contradict the declared modality."""
    for scan in voxels:
        if modality == "mask" and not scan.is_binary:
            raise ValueError(
                f"scan {scan.scan_id}: modality mask, got more than two values; set `modality` to what the scans are."
            )
        if modality not in ("mask", "other") and scan.is_binary and scan.low < scan.high:
            raise ValueError(f"scan {scan.scan_id}: modality {modality}, got only two values; set `modality: mask`.")
        if modality == "CT" and scan.low >= 0:
            raise ValueError(
                f"scan {scan.scan_id}: modality CT, got no value below 0, expected air at -1000 HU; "
                "convert to HU, or set preprocess.intensity."
            )
        if modality == "MR" and scan.low <= -900:
            raise ValueError(
                f"scan {scan.scan_id}: modality MR, got {scan.low:g}, the value of air in CT; set `modality: CT`."
            )
