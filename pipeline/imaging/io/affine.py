"""Where the voxels lie: the one transform that is used, and what in the header speaks against it."""

import itertools
import math

import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.volumeutils import shape_zoom_affine

from pipeline.imaging.problems import Findings

MM_PER_UNIT = {1: ("m", 1e3), 3: ("micron", 1e-3)}
"""Units of length other than mm, by their code; no unit is taken for mm, as everybody does."""
SPACING_MM = (0.05, 50.0)
EXTREME_RATIO = 10.0
KNOWN_CODES = range(6)
ROUNDING = 3 * float(np.finfo(np.float32).eps)
"""What float32 leaves of a quaternion's real part, squared, when it is zero."""


def find_affine(fields: np.void, shape: tuple[int, int, int], findings: Findings) -> np.ndarray:
    """(4, 4) float64, voxel indices to RAS+ mm: the sform where there is one, else the qform, else the voxel size."""
    unit, scale = MM_PER_UNIT.get(int(fields["xyzt_units"]) & 7, ("mm", 1.0))
    if unit != "mm":
        findings.warn("NII-UNITS", unit)
    check_codes(fields, findings)
    affine = choose_transform(fields, shape, findings)
    affine[:3] *= scale
    check_affine(affine, findings)
    return affine


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """(3,) voxel size in mm along the array's axes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.linalg.norm(affine[:3, :3], axis=0)


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
        if not has_spacing or not np.allclose(pixdim, spacing_of(sform), rtol=1e-3):
            findings.warn("NII-PIXDIM", f"pixdim {words(pixdim)}, sform {words(spacing_of(sform))}")
        if has_qform and has_spacing:
            compare_forms(sform, read_qform(fields, rotation, pixdim), shape, findings)
        return sform
    if not has_spacing:
        findings.reject("NII-SPACING", f"pixdim {words(pixdim)}")
    if has_qform:
        return read_qform(fields, rotation, pixdim)
    findings.warn("NII-NO-TRANSFORM", "qform_code 0, sform_code 0")
    # nibabel's convention, which most tools follow: x to the left, the origin in the middle.
    return shape_zoom_affine(shape, pixdim, x_flip=True)


def read_sform(fields: np.void, findings: Findings) -> np.ndarray:
    affine = np.vstack([read_numbers(fields, "srow_x", "srow_y", "srow_z"), (0, 0, 0, 1)])
    refuse_singular(affine, findings)
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
    # The third axis is flipped by a negative pixdim[0]; the standard takes 0 for 1.
    flip = -1.0 if fields["pixdim"][0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * pixdim * (1.0, 1.0, flip)
    affine[:3, 3] = read_numbers(fields, "qoffset_x", "qoffset_y", "qoffset_z")
    return affine


def read_numbers(fields: np.void, *names: str) -> np.ndarray:
    """Fields as float64, one row a name."""
    # A signalling NaN would raise a warning on its way; what is not finite is refused where it matters.
    with np.errstate(invalid="ignore"):
        return np.squeeze(np.array([fields[name] for name in names], np.float64))


def compare_forms(sform: np.ndarray, qform: np.ndarray, shape: tuple[int, int, int], findings: Findings) -> None:
    """Warn where a corner of the scan moves by over a tenth of a voxel between the two."""
    distance = corner_distance(sform, qform, shape)
    if not distance <= 0.1 * spacing_of(sform).min():
        findings.warn("NII-FORMS", f"corners up to {distance:.3g} apart")


def corner_distance(affine: np.ndarray, other: np.ndarray, shape: tuple[int, int, int]) -> float:
    """How far apart the two put a corner of the volume, at most."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, size - 1) for size in shape))])
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def check_affine(affine: np.ndarray, findings: Findings) -> None:
    """Rules that hold for whichever transform was used, in mm."""
    refuse_singular(affine, findings)
    spacing = spacing_of(affine)
    if spacing.min() < SPACING_MM[0] * 0.999 or spacing.max() > SPACING_MM[1] * 1.001:
        findings.reject("NII-SPACING-RANGE", f"{words(spacing)} mm")
    if spacing.max() >= EXTREME_RATIO * spacing.min():
        findings.warn("NII-ANISOTROPIC", f"{words(spacing)} mm")
    axes = affine[:3, :3] / spacing
    largest_cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if largest_cosine > 1e-3:
        findings.warn("NII-SHEAR", f"{np.degrees(np.arcsin(min(largest_cosine, 1.0))):.2f} degrees off")


def refuse_singular(affine: np.ndarray, findings: Findings) -> None:
    with np.errstate(all="ignore"):
        # Of unit axes, so that small voxels do not look flat; zero and non-finite axes give NaN, which fails too.
        volume = abs(np.linalg.det(affine[:3, :3] / spacing_of(affine)))
    if not (volume > 1e-3 and np.all(np.isfinite(affine))):
        findings.reject("NII-AFFINE", " ".join(f"[{' '.join(f'{value:.4g}' for value in row)}]" for row in affine[:3]))


def words(sizes: np.ndarray) -> str:
    """`0.9×0.9×3`."""
    return "×".join(f"{size:.4g}" for size in sizes)
