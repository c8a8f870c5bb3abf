"""Scans with known content, on any grid, and plans to prepare them by."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline.config import Plan
from pipeline.core.errors import original_errors
from pipeline.imaging.io.monai_reader import PRESENT
from pipeline.imaging.preprocessing import PreparedScan
from pipeline.imaging.transforms import IMAGE, volume_transforms


def make_plan(**changes) -> Plan:
    """Isotropic 2 mm axial slices around the body, values unchanged."""
    content = {
        "orientation": "SPL",
        "spacing_mm": (2.0, 2.0, 2.0),
        "size_voxels": (32, 32, 32),
        "crop": "center",
        "intensity": {"scheme": "unchanged"},
        "batch_size": 1,
        "accumulate": 1,
        "max_epochs": 1,
        "reasons": {},
    }
    return Plan(**{**content, **changes})


def prepare(images: Sequence[NDArray | None], affine: NDArray, plan: Plan) -> PreparedScan:
    """Preprocess images (X, Y, Z) that are in memory, by the transforms of a plan; None is one that is missing."""
    shape = next(image.shape for image in images if image is not None)
    channels = [np.zeros(shape, np.uint8) if image is None else image for image in images]
    stacked = np.ascontiguousarray(np.stack([channel.T for channel in channels]))
    image = MetaTensor(torch.from_numpy(stacked), affine=torch.from_numpy(affine[:, [2, 1, 0, 3]]))
    image.meta[PRESENT] = [image is not None for image in images]
    with original_errors():
        return PreparedScan(Compose(volume_transforms(plan))({IMAGE: image})[IMAGE])


def centered_affine(linear: np.ndarray, shape: tuple[int, ...], center_mm: np.ndarray) -> np.ndarray:
    """The affine with this 3x3 part whose volume has its middle at a world point."""
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = center_mm - linear @ ((np.array(shape) - 1) / 2)
    return affine


def random_linear(rng: np.random.Generator, largest_tilt_degrees: float = 25) -> np.ndarray:
    """Any order and direction of axes, tilted, with spacings of 0.8 to 3 mm."""
    axes = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1, 1], 3)
    tilt = Rotation.from_rotvec(np.deg2rad(rng.uniform(0, largest_tilt_degrees)) * unit(rng.normal(size=3)))
    return tilt.as_matrix() @ axes * rng.uniform(0.8, 3, 3)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def world_of_voxels(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS millimeters of every voxel: (X, Y, Z, 3)."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def blob(shape: tuple[int, ...], affine: np.ndarray, center_mm: np.ndarray, width_mm: float = 5.0) -> np.ndarray:
    """A smooth bright spot at a world point on a dark scan."""
    distance = np.linalg.norm(world_of_voxels(shape, affine) - center_mm, axis=-1)
    return np.exp(-0.5 * (distance / width_mm) ** 2).astype(np.float32)


def centroid_mm(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """World point of the center of mass."""
    index = [
        (array.sum(axis=tuple({0, 1, 2} - {axis})) * np.arange(size)).sum() / array.sum()
        for axis, size in enumerate(array.shape)
    ]
    return affine[:3, :3] @ np.array(index) + affine[:3, 3]


def stored_as(array: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The same scan with its axes in another order and direction, by nibabel."""
    change = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    return nib.apply_orientation(array, change), affine @ inv_ornt_aff(change, array.shape)
