import nibabel as nib
import numpy as np
import pytest

from pipeline.imaging.geometry import Grid, axcodes, axis_directions, index_map, network_grid, spacing_mm
from tests.imaging.scan_making import centered_affine, random_linear

ORIENTATIONS = ["SPL", "RAS", "LPS", "ASR", "ILA"]


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("tilt", ["keep", "straighten"])
def test_network_grid_points_where_the_plan_says(codes, tilt):
    rng = np.random.default_rng(0)
    for _ in range(20):
        scan = Grid((20, 24, 30), centered_affine(random_linear(rng), (20, 24, 30), rng.normal(0, 50, 3)))
        grid = network_grid(scan, scan.to_world(scan.center), codes, (3.0, 1.0, 1.5), (10, 20, 30), tilt)
        assert "".join(nib.aff2axcodes(grid.affine)) == codes == axcodes(grid.affine)
        np.testing.assert_allclose(spacing_mm(grid.affine), (3.0, 1.0, 1.5), rtol=1e-3)


def test_network_grid_is_centered_on_the_point_to_half_a_voxel():
    rng = np.random.default_rng(1)
    for _ in range(50):
        scan = Grid((20, 24, 30), centered_affine(random_linear(rng), (20, 24, 30), rng.normal(0, 50, 3)))
        center = rng.normal(0, 50, 3)
        spacing = tuple(spacing_mm(scan.affine)) if rng.random() < 0.5 else (2.0, 2.0, 2.0)
        grid = network_grid(scan, center, "SPL", spacing, (9, 10, 11))
        off_center = np.linalg.solve(grid.affine[:3, :3], grid.to_world(grid.center) - center)
        assert np.abs(off_center).max() <= 0.5 + 1e-3


def test_axes_of_equal_spacing_share_their_voxels_with_the_scan():
    affine = nib.affines.from_matvec(np.diag([-1.0, 1.0, 3.0]), [90.2, -126.7, -72.1])
    grid = network_grid(Grid((182, 218, 60), affine), np.array([3.3, 4.4, 5.5]), "SPL", (1.0, 1.0, 1.0), (64, 65, 66))
    to_scan = index_map(affine, grid)
    first_voxel = to_scan[:3, 3]
    assert first_voxel[0] == round(first_voxel[0]) and first_voxel[1] == round(first_voxel[1])
    assert to_scan[2, 0] == pytest.approx(1 / 3)


def test_a_tilted_scan_keeps_its_own_axes_unless_it_is_straightened():
    tilted = random_linear(np.random.default_rng(3), largest_tilt_degrees=20)
    scan = Grid((20, 20, 20), centered_affine(tilted, (20, 20, 20), np.zeros(3)))
    kept = axis_directions(scan.affine, "RAS", "keep")
    own = np.abs(kept.T @ (tilted / np.linalg.norm(tilted, axis=0)))
    np.testing.assert_allclose(np.sort(own, axis=0)[-1], 1, atol=1e-9)
    np.testing.assert_array_equal(axis_directions(scan.affine, "RAS", "straighten"), np.eye(3))


def test_a_shear_is_taken_out():
    sheared = np.array([[1.0, 0.2, 0.0], [0.0, 1.0, 0.1], [0.0, 0.0, 2.0]])
    axes = axis_directions(centered_affine(sheared, (8, 8, 8), np.zeros(3)), "LPS", "keep")
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)


def test_an_orientation_that_names_one_axis_twice_is_rejected():
    with pytest.raises(ValueError, match="RLS.*expected one of RL, one of AP and one of IS"):
        axis_directions(np.eye(4), "RLS", "keep")


@pytest.mark.parametrize("num_voxels", [20, 21, 22, 23])
@pytest.mark.parametrize("size", [8, 9, 10, 11])
def test_a_mirrored_file_gets_the_same_grid_also_where_the_shift_is_half_a_voxel(num_voxels, size):
    shape = (num_voxels,) * 3
    grids = []
    for direction in (1.0, -1.0):
        scan = Grid(shape, centered_affine(direction * np.eye(3), shape, np.zeros(3)))
        grids.append(network_grid(scan, np.zeros(3), "RAS", (1.0, 1.0, 1.0), (size,) * 3))
    np.testing.assert_allclose(grids[0].affine, grids[1].affine, atol=1e-9)
