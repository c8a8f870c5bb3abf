"""The average brain that every phantom patient is a deformation of.

ICBM152 nonlinear symmetric 2009a: T1, grey and white matter at 1 mm, as the nilearn wheel carries them
(Fonov et al., NeuroImage 47:S102, 2009). It is skull-stripped, so skull and scalp are added here.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from pipeline.cohorts.phantom.grid import Array, Grid, resample, voxels_at

FILES = "mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"
PATIENT_SPACE = Grid.of_box((-90, -124, -72), (90, 92, 100), spacing_mm=2.0)
"""Where a patient's anatomy is built: the whole head above the neck."""
WHITE = 220.0
"""Intensity of white matter."""
LAYERS_MM = (0, 2, 4, 8, 10, 14, 16)
"""Distances outside the brain, through fluid, skull and scalp to the air …"""
LAYERS_T1 = (70, 55, 25, 25, 220, 220, 0)
"""… and the intensity at each, linear between them."""


@dataclass(frozen=True)
class Template:
    """Volumes on the template's grid, and what is derived from them on PATIENT_SPACE, which shares its axes."""

    grid: Grid
    brain: Array
    """T1 without skull, 0..255, on `grid`."""
    white_matter: Array
    """Probability, 0..1, on `grid`."""
    depth_mm: Array
    """Distance from the brain, 0 in it, on PATIENT_SPACE."""
    ageing: Array
    """(3, *shape) on PATIENT_SPACE: towards the nearest fluid, length 1 where that is steepest."""

    def brain_at(self, points_mm: Array) -> Array:
        """T1 of the stripped brain at points (3, *S)."""
        return _sample(self.brain, self.grid, points_mm)

    def head_at(self, points_mm: Array) -> Array:
        """T1 of the brain in its skull and scalp at points (3, *S)."""
        depth = _sample(self.depth_mm, PATIENT_SPACE, points_mm, mode="nearest")
        return np.where(depth > 0, np.interp(depth, LAYERS_MM, LAYERS_T1), self.brain_at(points_mm)).astype(np.float32)

    def white_matter_at(self, points_mm: Array) -> Array:
        """Probability of white matter at points (3, *S)."""
        return _sample(self.white_matter, self.grid, points_mm)


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the template, once a process (half a second)."""
    image = nib.load(_locate("t1"))
    grid = Grid(image.shape, image.affine)
    brain = np.asarray(image.dataobj)
    grey, white = (np.asarray(nib.load(_locate(tissue)).dataobj) / np.float32(255) for tissue in ("gm", "wm"))
    fluid = np.where(brain > 0, np.clip(1 - grey - white, 0, 1), 0)
    outside = resample((brain > 0).astype(np.float32), grid, PATIENT_SPACE) < 0.5
    depth_mm = ndimage.distance_transform_edt(outside, PATIENT_SPACE.affine[0, 0]).astype(np.float32)
    return Template(grid, brain, white, depth_mm, _ageing(resample(fluid, grid, PATIENT_SPACE)))


def _locate(tissue: str) -> Path:
    """Path of a template file, without importing nilearn (which takes seconds)."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("phantom: nilearn, which carries the ICBM152 template, is missing; run 'make setup'.")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / FILES.format(tissue=tissue)
    if not path.exists():
        raise FileNotFoundError(f"{path}: the ICBM152 template of nilearn's wheel is missing; reinstall nilearn.")
    return path


def _ageing(fluid: Array) -> Array:
    """Where tissue retreats from: the slope of the smoothed fluid, so ventricles and sulci widen together."""
    slope = np.stack(np.gradient(ndimage.gaussian_filter(fluid, sigma=2)))
    return (slope / np.sqrt((slope**2).sum(0)).max()).astype(np.float32)


def _sample(volume: Array, grid: Grid, points_mm: Array, mode: str = "constant") -> Array:
    return ndimage.map_coordinates(volume, voxels_at(grid, points_mm), order=1, mode=mode, output=np.float32)
