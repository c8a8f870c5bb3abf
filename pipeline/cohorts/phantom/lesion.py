"""The disease: a dark lesion in the white matter of the left hemisphere, and its harmless mirror image on the right."""

import numpy as np

from pipeline.cohorts.phantom.grid import Array
from pipeline.cohorts.phantom.template import Template

CENTRE_MM = (28.0, -16.0, 34.0)
"""In the template: from the midline, to the front and to the top, which is the corona radiata."""
JITTER_MM = 4.0
MAX_RADIUS_MM = 21.0
LOBE = 0.12
"""Standard deviation of the outline's waves, as a share of the radius, along each axis."""
EDGE_MM = 1.0
GREY_SHARE = 0.3
"""How far the lesion takes grey matter, which it mostly spares."""


def lesion_at(template: Template, points_mm: Array, side: str, dose: float, rng: np.random.Generator) -> Array:
    """Share of lesion, 0..1, at points (3, *S) of the template, on one side, L or R.

    Its diameter grows in proportion to the dose; its outline is a ball with lobes.
    """
    centre_mm = np.array(CENTRE_MM) * [-1 if side == "L" else 1, 1, 1] + rng.normal(0, JITTER_MM, 3)
    lobes, phases = rng.normal(0, LOBE, (3, 1)), rng.uniform(0, 2 * np.pi, (3, 1))
    lesion = np.zeros(points_mm.shape[1:], np.float32)
    near = (np.abs(points_mm - centre_mm.astype(np.float32)[:, None, None, None]) < 1.6 * MAX_RADIUS_MM).all(0)
    offset = points_mm[:, near] - centre_mm[:, None]
    distance = np.sqrt((offset**2).sum(0))
    waves = 1 + (lobes * np.cos(3 * offset / (distance + EDGE_MM) + phases)).sum(0)
    ball = 1 / (1 + np.exp((distance - MAX_RADIUS_MM * dose * waves) / EDGE_MM))
    lesion[near] = ball * (GREY_SHARE + (1 - GREY_SHARE) * template.white_matter_at(points_mm[:, near]))
    return lesion


def darkening(dose: float) -> float:
    """Share of the T1 signal that a voxel full of lesion loses; at most, it is as dark as fluid."""
    return 0.4 + 0.3 * dose
