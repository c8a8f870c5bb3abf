"""One patient's head: the template bent smoothly, aged, scaled, and given the disease."""

from dataclasses import dataclass

import numpy as np

from pipeline.cohorts.phantom.grid import Array, smooth_field
from pipeline.cohorts.phantom.lesion import darkening, lesion_at
from pipeline.cohorts.phantom.population import AGE_YEARS, Patient
from pipeline.cohorts.phantom.template import PATIENT_SPACE, Template

HEAD_CENTRE_MM = np.array([0.0, -17.0, 10.0])
SIZE_OF_SEX = {"F": 0.97, "M": 1.03}
SIZE_SPREAD = 0.02
BEND_MM = 2.5
"""Standard deviation of the individual deformation, along each axis."""
BEND_CONTROL_POINTS = (6, 7, 6)
"""About 36 mm apart, so that the deformation never folds."""
AGEING_MM = 4.0
"""How far tissue retreats from ventricles and sulci over the whole range of ages, at most."""
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
    """For each voxel of PATIENT_SPACE the point of the template, in mm, that came to lie there; (3, *shape)."""
    points = PATIENT_SPACE.points()
    size = SIZE_OF_SEX[patient.sex] * rng.normal(1, SIZE_SPREAD)
    share_of_ageing = (patient.age - AGE_YEARS[0]) / (AGE_YEARS[1] - AGE_YEARS[0])
    centre = HEAD_CENTRE_MM.astype(np.float32)[:, None, None, None]
    source = centre + (points - centre) / np.float32(size)
    source += np.float32(AGEING_MM * share_of_ageing) * template.ageing
    source[1] -= np.float32(TORQUE_MM) * np.tanh(points[0] / 30)
    for axis in range(3):
        source[axis] += BEND_MM * smooth_field(rng.standard_normal(BEND_CONTROL_POINTS), PATIENT_SPACE.shape)
    return source
