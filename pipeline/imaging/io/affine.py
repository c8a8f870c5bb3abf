"""The affine of a NIfTI header: which of its transforms is used, and what contradicts it."""

import itertools
import math

import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.volumeutils import shape_zoom_affine

from pipeline.imaging.geometry import spacing_mm
from pipeline.imaging.problems import Findings

MM_PER_UNIT = {1: ("m", 1e3), 3: ("micron", 1e-3)}
"""Units of length other than mm, by their code; a missing unit is taken as mm, as other readers do."""
EXTREME_RATIO = 10.0
KNOWN_CODES = range(6)
ROUNDING = 3 * float(np.finfo(np.float32).eps)
"""Rounding error of float32 in the square of a quaternion's real part that is zero."""


def find_affine(fields: np.void, shape: tuple[int, int, int], findings: Findings) -> np.ndarray:
    """(4, 4) float64, voxel indices to RAS+ mm: from the sform if there is one, else the qform, else the voxel size."""
    unit, scale = MM_PER_UNIT.get(int(fields["xyzt_units"]) & 7, ("mm", 1.0))
    if unit != "mm":
        findings.warn("NII-UNITS", unit)
    check_codes(fields, findings)
    affine = choose_transform(fields, shape, findings)
    affine[:3] *= scale
    check_affine(affine, findings)
    return affine


def check_codes(fields: np.void, findings: Findings) -> None:
    for name in ("qform_code", "sform_code"):
        if int(fields[name]) not in KNOWN_CODES:
            findings.warn("NII-XFORM-CODE", f"{name} {fields[name]}")


def choose_transform(fields: np.void, shape: tuple[int, int, int], findings: Findings) -> np.ndarray:
    has_sform, has_qform = bool(fields["sform_code"]), bool(fields["qform_code"])
    rotation = read_rotation(fields, findings) if has_qform else np.eye(3)
    pixdim = read_numbers(fields, "pixdim")[1:4]
    has_spacing = bool(np.all(np.isfinite(pixdim)) and np.all(pixdim > 0))
    if has_sform:
        sform = read_sform(fields, findings)
        if not has_spacing or not np.allclose(pixdim, spacing_mm(sform), rtol=1e-3):
            findings.warn("NII-PIXDIM", f"pixdim {format_sizes(pixdim)}, sform {format_sizes(spacing_mm(sform))}")
        if has_qform and has_spacing:
            compare_forms(sform, read_qform(fields, rotation, pixdim), shape, findings)
        return sform
    if not has_spacing:
        findings.reject("NII-SPACING", f"pixdim {format_sizes(pixdim)}")
    if has_qform:
        return read_qform(fields, rotation, pixdim)
    findings.warn("NII-NO-TRANSFORM", "qform_code 0, sform_code 0")
    # The convention of nibabel and most tools: x points left, the origin is in the middle.
    return shape_zoom_affine(shape, pixdim, x_flip=True)


def read_sform(fields: np.void, findings: Findings) -> np.ndarray:
    affine = np.vstack([read_numbers(fields, "srow_x", "srow_y", "srow_z"), (0, 0, 0, 1)])
    check_invertible(affine, findings)
    return affine


def read_rotation(fields: np.void, findings: Findings) -> np.ndarray:
    """(3, 3) rotation of the qform's quaternion, which stores three of its four numbers."""
    numbers = read_numbers(fields, "quatern_b", "quatern_c", "quatern_d")
    length = float(np.linalg.norm(numbers))
    if not length**2 <= 1 + 1e-5:
        findings.reject("NII-QUATERNION", f"(b, c, d) of length {length:.6g}, expected 1 at most")
    real = 1 - length**2
    return quat2mat((math.sqrt(real) if real > ROUNDING else 0.0, *numbers))


def read_qform(fields: np.void, rotation: np.ndarray, pixdim: np.ndarray) -> np.ndarray:
    # The third axis is flipped by a negative pixdim[0]; in the standard 0 means 1.
    flip = -1.0 if fields["pixdim"][0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * pixdim * (1.0, 1.0, flip)
    affine[:3, 3] = read_numbers(fields, "qoffset_x", "qoffset_y", "qoffset_z")
    return affine


def read_numbers(fields: np.void, *names: str) -> np.ndarray:
    """Fields as float64, one row per name."""
    # A signaling NaN would raise a warning here; values that are not finite are rejected where they are used.
    with np.errstate(invalid="ignore"):
        return np.squeeze(np.array([fields[name] for name in names], np.float64))


def compare_forms(sform: np.ndarray, qform: np.ndarray, shape: tuple[int, int, int], findings: Findings) -> None:
    """Warn if a corner of the scan moves by more than a tenth of a voxel between the two."""
    distance = corner_distance(sform, qform, shape)
    if not distance <= 0.1 * spacing_mm(sform).min():
        findings.warn("NII-FORMS", f"corners up to {distance:.3g} apart")


def corner_distance(affine: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> float:
    """Largest distance in mm between the positions of a corner of the volume by two affines."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, size - 1) for size in shape))])
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def check_affine(affine: np.ndarray, findings: Findings) -> None:
    """Checks of the chosen affine, in mm."""
    check_invertible(affine, findings)
    spacing = spacing_mm(affine)
    low, high = findings.spacing_range_mm
    if spacing.min() < low * 0.999 or spacing.max() > high * 1.001:
        findings.reject("NII-SPACING-RANGE", f"{format_sizes(spacing)} mm, expected {low:g} to {high:g}")
    if spacing.max() >= EXTREME_RATIO * spacing.min():
        findings.warn("NII-ANISOTROPIC", f"{format_sizes(spacing)} mm")
    axes = affine[:3, :3] / spacing
    largest_cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if largest_cosine > 1e-3:
        findings.warn("NII-SHEAR", f"{np.degrees(np.arcsin(min(largest_cosine, 1.0))):.2f} degrees off")


def check_invertible(affine: np.ndarray, findings: Findings) -> None:
    with np.errstate(all="ignore"):
        # With unit axes, so that small voxels do not look flat; zero and non-finite axes give NaN, also rejected.
        volume = abs(np.linalg.det(affine[:3, :3] / spacing_mm(affine)))
    if not (volume > 1e-3 and np.all(np.isfinite(affine))):
        findings.reject("NII-AFFINE", " ".join(f"[{' '.join(f'{value:.4g}' for value in row)}]" for row in affine[:3]))


def format_sizes(sizes: np.ndarray) -> str:
    """`0.9×0.9×3`."""
    return "×".join(f"{size:.4g}" for size in sizes)
