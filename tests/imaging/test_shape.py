"""Measures of shape against bodies whose measures are known."""

import numpy as np
import pytest

from pipeline.imaging.shape import measure_shape, shape_measure_names

SPACING = (1.0, 1.0, 1.0)


def measures(mask: np.ndarray, spacing=SPACING) -> dict[str, float]:
    return {name: value for group in measure_shape(mask.astype(float), spacing) for name, value in group.items()}


def distance_from_center(shape, spacing=SPACING) -> np.ndarray:
    """(3, D, H, W) in mm from the middle of the volume."""
    axes = [(np.arange(size) - (size - 1) / 2) * mm for size, mm in zip(shape, spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def ball(radius: float, shape=(41, 41, 41), spacing=SPACING) -> np.ndarray:
    return np.linalg.norm(distance_from_center(shape, spacing), axis=0) <= radius


def test_a_ball_has_its_volume_surface_and_thickness():
    found = measures(ball(14.0))
    assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=0.01)
    assert found["surface_cm2"] == pytest.approx(4 * np.pi * 14**2 / 100, rel=0.04)
    assert found["sphericity"] == pytest.approx(1, abs=0.04)
    assert found["solidity"] > 0.97
    assert found["depth_max_mm"] == pytest.approx(14, abs=1)
    assert found["thickness_max_mm"] == pytest.approx(28, abs=2)
    # The mean curvature of a ball is one over its radius; smoothing and the outermost voxels blur it.
    assert found["curvature_p50_per_mm"] == pytest.approx(1 / 14, rel=0.2)
    assert found["furrowed_share"] < 0.02


def test_axes_of_an_ellipsoid_are_those_of_its_variances():
    half = np.array([6.0, 9.0, 15.0])
    inside = (np.square(distance_from_center((21, 27, 39)) / half[:, None, None, None]).sum(axis=0)) <= 1
    found = measures(inside)
    # The variance of a solid ellipsoid along an axis is a fifth of the squared half axis.
    for name, expected in zip(("short", "middle", "long"), half, strict=True):
        assert found[f"axis_{name}_mm"] == pytest.approx(4 * expected / np.sqrt(5), rel=0.03)
    assert found["axis_long_along_width"] == pytest.approx(1, abs=1e-6)
    assert found["axis_short_along_depth"] == pytest.approx(1, abs=1e-6)
    assert found["elongation"] == pytest.approx(9 / 15, rel=0.03)


def test_millimeters_count_and_not_voxels():
    spacing = (3.0, 1.5, 1.0)
    found, cubic = measures(ball(14, (15, 25, 35), spacing), spacing), measures(ball(14))
    for name in ("volume_ml", "axis_long_mm", "depth_max_mm", "radius_mean_mm", "extent_width_mm"):
        assert found[name] == pytest.approx(cubic[name], rel=0.12), name


def test_topology_tells_holes_and_pieces_apart():
    distance = distance_from_center((31, 31, 31))
    ring = np.hypot(np.hypot(distance[1], distance[2]) - 9, distance[0]) <= 3
    assert measures(ring)["euler_number"] == 0
    assert measures(ball(12) & ~ball(6))["euler_number"] == 2
    pieces = np.zeros((20, 20, 20), bool)
    pieces[2:6, 2:6, 2:6] = pieces[10:18, 10:18, 10:18] = True
    found = measures(pieces)
    assert found["components"] == 2
    assert found["largest_component_share"] == pytest.approx(512 / (512 + 64))


def test_a_mirrored_mask_differs_only_in_what_has_a_side():
    generator = np.random.default_rng(0)
    mask = ball(9, (25, 25, 25)) & (generator.random((25, 25, 25)) < 0.97)
    plain, mirrored = measures(mask), measures(mask[:, :, ::-1])
    sided = {name for name in plain if abs(plain[name] - mirrored[name]) > 1e-3 * max(1, abs(plain[name]))}
    # The medial axis is thinned in a fixed order.
    assert {name for name in sided if not name.startswith(("thickness", "skeleton", "volume_per"))} <= {
        "offset_width_mm",
        *(f"area_width_{step}of8_cm2" for step in range(1, 9)),
    }


@pytest.mark.parametrize("voxels", [0, 1, 2])
def test_the_smallest_masks_have_finite_measures_under_the_same_names(voxels):
    mask = np.zeros((8, 8, 8), bool)
    mask[4, 4, 4 : 4 + voxels] = True
    groups = measure_shape(mask.astype(float), SPACING)
    assert tuple(tuple(group) for group in groups) == shape_measure_names()
    values = [value for group in groups for value in group.values()]
    assert np.isfinite(values).all()
    assert voxels or not any(values)
