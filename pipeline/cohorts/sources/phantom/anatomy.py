"""The anatomy of the phantom: a template brain, deformed for each patient, with a lesion."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from pipeline.cohorts.sources.phantom.grid import Array, Grid, resample, smooth_field, voxels_at
from pipeline.cohorts.sources.phantom.population import AGE_YEARS, Patient

FILES = "mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz"
PATIENT_SPACE = Grid.of_box((-90, -124, -72), (90, 92, 100), spacing_mm=2.0)
"""The grid of a patient's anatomy: the whole head above the neck."""
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
    aging: Array
    """(3, *shape) on PATIENT_SPACE: towards the nearest fluid, length 1 at the steepest slope."""

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
    """Read the template, once per process (half a second)."""
    image = nib.load(_locate("t1"))
    grid = Grid(image.shape, image.affine)
    brain = np.asarray(image.dataobj)
    gray, white = (np.asarray(nib.load(_locate(tissue)).dataobj) / np.float32(255) for tissue in ("gm", "wm"))
    fluid = np.where(brain > 0, np.clip(1 - gray - white, 0, 1), 0)
    outside = resample((brain > 0).astype(np.float32), grid, PATIENT_SPACE) < 0.5
    depth_mm = ndimage.distance_transform_edt(outside, PATIENT_SPACE.affine[0, 0]).astype(np.float32)
    return Template(grid, brain, white, depth_mm, _aging(resample(fluid, grid, PATIENT_SPACE)))


def _locate(tissue: str) -> Path:
    """Path of a template file, without importing nilearn (which takes seconds)."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("phantom: nilearn, which carries the ICBM152 template, is missing; run 'make setup'.")
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / FILES.format(tissue=tissue)
    if not path.exists():
        raise FileNotFoundError(f"{path}: the ICBM152 template of nilearn's wheel is missing; reinstall nilearn.")
    return path


def _aging(fluid: Array) -> Array:
    """Direction in which tissue retreats: the slope of the smoothed fluid, so ventricles and sulci widen together."""
    slope = np.stack(np.gradient(ndimage.gaussian_filter(fluid, sigma=2)))
    return (slope / np.sqrt((slope**2).sum(0)).max()).astype(np.float32)


def _sample(volume: Array, grid: Grid, points_mm: Array, mode: str = "constant") -> Array:
    return ndimage.map_coordinates(volume, voxels_at(grid, points_mm), order=1, mode=mode, output=np.float32)


CENTER_MM = (28.0, -16.0, 34.0)
"""In the template: from the midline, to the front and to the top, which is the corona radiata."""
JITTER_MM = 4.0
MAX_RADIUS_MM = 21.0
LOBE = 0.12
"""Standard deviation of the outline's waves, as a share of the radius, along each axis."""
EDGE_MM = 1.0
GRAY_SHARE = 0.3
"""Share of the lesion in gray matter, which it mostly spares."""


def lesion_at(template: Template, points_mm: Array, side: str, dose: float, rng: np.random.Generator) -> Array:
    """Share of lesion, 0..1, at points (3, *S) of the template, on one side, L or R.

    Its diameter grows in proportion to the dose; its outline is a ball with lobes.
    """
    center_mm = np.array(CENTER_MM) * [-1 if side == "L" else 1, 1, 1] + rng.normal(0, JITTER_MM, 3)
    lobes, phases = rng.normal(0, LOBE, (3, 1)), rng.uniform(0, 2 * np.pi, (3, 1))
    lesion = np.zeros(points_mm.shape[1:], np.float32)
    near = (np.abs(points_mm - center_mm.astype(np.float32)[:, None, None, None]) < 1.6 * MAX_RADIUS_MM).all(0)
    offset = points_mm[:, near] - center_mm[:, None]
    distance = np.sqrt((offset**2).sum(0))
    waves = 1 + (lobes * np.cos(3 * offset / (distance + EDGE_MM) + phases)).sum(0)
    ball = 1 / (1 + np.exp((distance - MAX_RADIUS_MM * dose * waves) / EDGE_MM))
    lesion[near] = ball * (GRAY_SHARE + (1 - GRAY_SHARE) * template.white_matter_at(points_mm[:, near]))
    return lesion


def darkening(dose: float) -> float:
    """Share of the T1 signal that a voxel full of lesion loses; at most, it is as dark as fluid."""
    return 0.4 + 0.3 * dose


HEAD_CENTER_MM = np.array([0.0, -17.0, 10.0])
SIZE_OF_SEX = {"F": 0.97, "M": 1.03}
SIZE_SPREAD = 0.02
BEND_MM = 2.5
"""Standard deviation of the individual deformation, along each axis."""
BEND_CONTROL_POINTS = (6, 7, 6)
"""About 36 mm apart, so that the deformation never folds."""
AGING_MM = 4.0
"""Largest retreat of tissue from ventricles and sulci over the whole range of ages."""
TORQUE_MM = 4.0
"""Right side forward, left side back, at the sides of the head: the template is symmetric, brains are not."""


@dataclass(frozen=True)
class Anatomy:
    """Volumes on PATIENT_SPACE."""

    healthy: Array
    """T1, 0..255, without the lesion, but with the decoy."""
    lesion: Array
    """Share of a voxel that is lesion, 0..1."""
    darkening: float
    """Share of the signal that a voxel full of lesion loses."""


def grow(patient: Patient, template: Template, has_head: bool, rng: np.random.Generator) -> Anatomy:
    """The anatomy that all scans of a patient share."""
    points_mm = _points_of_template(patient, template, rng)
    healthy = template.head_at(points_mm) if has_head else template.brain_at(points_mm)
    lesion = lesion_at(template, points_mm, "L", patient.dose, rng)
    decoy = lesion_at(template, points_mm, "R", patient.decoy_dose, rng)
    return Anatomy(healthy * (1 - darkening(patient.decoy_dose) * decoy), lesion, darkening(patient.dose))


def _points_of_template(patient: Patient, template: Template, rng: np.random.Generator) -> Array:
    """For each voxel of PATIENT_SPACE the point of the template, in mm, that is deformed to it; (3, *shape)."""
    points = PATIENT_SPACE.points()
    size = SIZE_OF_SEX[patient.sex] * rng.normal(1, SIZE_SPREAD)
    share_of_aging = (patient.age - AGE_YEARS[0]) / (AGE_YEARS[1] - AGE_YEARS[0])
    center = HEAD_CENTER_MM.astype(np.float32)[:, None, None, None]
    source = center + (points - center) / np.float32(size)
    source += np.float32(AGING_MM * share_of_aging) * template.aging
    source[1] -= np.float32(TORQUE_MM) * np.tanh(points[0] / 30)
    for axis in range(3):
        source[axis] += BEND_MM * smooth_field(rng.standard_normal(BEND_CONTROL_POINTS), PATIENT_SPACE.shape)
    return source
