"""Simulate one scan: position the head, sample slices, add a bias field and noise, store integers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from pipeline.cohorts.sources.phantom.anatomy import HEAD_CENTER_MM, PATIENT_SPACE, WHITE, Anatomy
from pipeline.cohorts.sources.phantom.grid import Array, Grid, resample, smooth_field
from pipeline.cohorts.sources.phantom.population import Scanner

DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
BRAIN_VIEW_MM, HEAD_VIEW_MM = (160.0, 200.0, 172.0), (180.0, 216.0, 176.0)
"""Field of view along R, A, S."""
POSE_DEG, POSE_MM = 3.0, 4.0
"""Standard deviations of the position of a head in the scanner."""
SHADING = 0.15
"""Standard deviation of the logarithm of the bias field."""
SHADING_CONTROL_POINTS = (4, 4, 4)


@dataclass(frozen=True)
class Scan:
    """Stored voxels (i, j, k), with the truth that only a phantom has."""

    voxels: NDArray[np.generic]
    affine: Array
    mask: NDArray[np.uint8]
    """1 where at least half of a voxel is lesion."""
    effect: NDArray[np.int16]
    """The scan minus its lesion-free twin, which has the same noise; 0 away from the lesion."""


def acquire(anatomy: Anatomy, scanner: Scanner, coarsen: float, rng: np.random.Generator) -> Scan:
    """Scan the head; `coarsen` enlarges the voxels."""
    pose = _draw_pose(rng)
    grid = _lay_slices(scanner, coarsen, pose)
    in_patient = Grid(grid.shape, np.linalg.inv(pose) @ grid.affine)
    healthy, lesion = (_image(volume, in_patient, scanner) for volume in (anatomy.healthy, anatomy.lesion))
    gain = scanner.white * np.exp(smooth_field(rng.normal(0, SHADING, SHADING_CONTROL_POINTS), grid.shape))
    noise = rng.standard_normal(grid.shape, np.float32) * np.float32(scanner.noise * scanner.white)
    if not scanner.has_head:
        noise[healthy < 0.1 * WHITE] = 0  # outside the brain a stripped scan is empty
    twin = _magnitude(healthy, gain, noise, scanner)
    ill = lesion > 0
    voxels = twin.copy()
    voxels[ill] = _magnitude((healthy * (1 - anatomy.darkening * lesion))[ill], gain[ill], noise[ill], scanner)
    effect = (voxels.astype(np.int32) - twin).astype(np.int16)
    return Scan(voxels, grid.affine, (lesion >= 0.5).astype(np.uint8), effect)


def _draw_pose(rng: np.random.Generator) -> Array:
    """Rigid motion from the patient's space to the scanner's, (4, 4), about the center of the head."""
    turn = Rotation.from_euler("xyz", rng.normal(0, POSE_DEG, 3), degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = turn
    pose[:3, 3] = HEAD_CENTER_MM - turn @ HEAD_CENTER_MM + rng.normal(0, POSE_MM, 3)
    return pose


def _lay_slices(scanner: Scanner, coarsen: float, pose: Array) -> Grid:
    """The scan's voxels in the scanner's space: the field of view around the head's center."""
    spacing_mm = np.array(scanner.spacing_mm) * coarsen
    straight = np.array([DIRECTIONS[code] for code in scanner.axcodes], dtype=float).T
    view_mm = np.abs(straight).T @ (HEAD_VIEW_MM if scanner.has_head else BRAIN_VIEW_MM)
    shape = tuple(int(size) for size in np.rint(view_mm / spacing_mm))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", scanner.tilt_deg, degrees=True).as_matrix() @ straight * spacing_mm
    center_mm = (pose @ [*HEAD_CENTER_MM, 1])[:3]
    affine[:3, 3] = center_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def _image(volume: Array, in_patient: Grid, scanner: Scanner) -> Array:
    """Blur by the scanner and by the size of its voxels, then sample; a tilt of a few degrees is neglected."""
    voxel_mm = np.abs(in_patient.affine[:3, :3]).max(axis=1)  # along R, A, S
    sigma_mm = np.hypot(
        scanner.blur_mm, voxel_mm / np.sqrt(12)
    )  # the standard deviation of a box is its width divided by √12
    blurred = ndimage.gaussian_filter(volume, sigma_mm / PATIENT_SPACE.affine[0, 0], truncate=3)
    return resample(blurred, PATIENT_SPACE, in_patient)


def _magnitude(tissue: Array, gain: Array, noise: Array, scanner: Scanner) -> NDArray[np.generic]:
    """From tissue, 0..255, to stored numbers: contrast, bias field, noise folded at zero as in magnitude images."""
    signal = gain * (tissue / WHITE) ** np.float32(scanner.gamma)
    rounded = np.rint(np.abs(signal + noise))
    dtype = np.dtype(scanner.dtype)
    largest = np.iinfo(dtype).max if dtype.kind in "iu" else np.inf
    return np.minimum(rounded, largest).astype(dtype)
