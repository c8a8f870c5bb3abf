import numpy as np
import pytest
import SimpleITK as sitk
import torch

from pipeline.imaging.geometry import Grid, network_grid
from pipeline.imaging.resampling import resample, to_original_grid
from tests.imaging.scan_making import (
    blob,
    centered_affine,
    centroid_mm,
    make_plan,
    prepare,
    random_linear,
    stored_as,
    world_of_voxels,
)

LPS = np.diag([-1.0, -1.0, 1.0])


def as_sitk(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """The scan in SimpleITK, whose world is LPS and whose arrays run (Z, Y, X)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((LPS @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((LPS @ affine[:3, 3]).tolist())
    return image


def sitk_resample(array: np.ndarray, affine: np.ndarray, target: Grid) -> np.ndarray:
    reference = as_sitk(np.zeros(target.shape, np.float32), target.affine)
    return sitk.GetArrayFromImage(sitk.Resample(as_sitk(array, affine), reference)).transpose(2, 1, 0)


@pytest.mark.parametrize("tilt", ["keep", "straighten"])
def test_interior_voxels_equal_simpleitk_where_nothing_shrinks(tilt):
    rng = np.random.default_rng(0)
    for _ in range(5):
        shape = (30, 26, 34)
        affine = centered_affine(random_linear(rng), shape, rng.normal(0, 40, 3))
        array = rng.normal(size=shape).astype(np.float32)
        scan = Grid(shape, affine)
        target = network_grid(scan, scan.to_world(scan.center), "SPL", (0.75, 0.75, 0.75), (16, 16, 16), tilt)
        difference = resample(array, affine, target) - sitk_resample(array, affine, target)
        assert np.abs(difference).max() < 0.01 * np.ptp(array)


def test_shrinking_equals_torch_with_antialias():
    array = np.random.default_rng(0).normal(size=(40, 48, 36)).astype(np.float32)
    target = Grid((16, 48, 12), centered_affine(np.diag([2.5, 1.0, 3.0]), (16, 48, 12), np.zeros(3)))
    ours = resample(array, centered_affine(np.eye(3), array.shape, np.zeros(3)), target)
    planes = torch.from_numpy(array).movedim(1, 0)[None]
    theirs = torch.nn.functional.interpolate(planes, (16, 12), mode="bilinear", antialias=True, align_corners=False)
    np.testing.assert_allclose(ours, theirs[0].movedim(0, 1).numpy(), atol=1e-5)


@pytest.mark.parametrize("tilt", ["keep", "straighten"])
def test_shrinking_leaves_no_alias_of_a_pattern_too_fine_for_the_target(tilt):
    shape = (60, 60, 60)
    affine = centered_affine(random_linear(np.random.default_rng(5), 15), shape, np.zeros(3))
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    affine = centered_affine(affine[:3, :3], shape, np.zeros(3))
    stripes = np.where(np.indices(shape).sum(0) % 2, 1.0, -1.0).astype(np.float32)
    target = network_grid(Grid(shape, affine), np.zeros(3), "SPL", (3.0, 3.0, 3.0), (10, 10, 10), tilt)
    assert np.abs(resample(stripes, affine, target)).max() < 0.05
    assert np.abs(resample(np.ones(shape, np.float32), affine, target) - 1).max() < 1e-5


@pytest.mark.parametrize("tilt", ["keep", "straighten"])
def test_a_landmark_keeps_its_world_position(tilt):
    rng = np.random.default_rng(2)
    for _ in range(12):
        linear = random_linear(rng)
        shape = tuple(int(size) for size in np.ceil(70 / np.linalg.norm(linear, axis=0)))
        center = rng.normal(0, 40, 3)
        affine = centered_affine(linear, shape, center)
        landmark = center + rng.uniform(-8, 8, 3)
        prepared = prepare([blob(shape, affine, landmark)], affine, make_plan(tilt=tilt))
        off_voxels = (centroid_mm(prepared.array[0], prepared.affine) - landmark) / 2.0
        assert np.linalg.norm(off_voxels) < 0.5


@pytest.mark.parametrize("codes", ["RAS", "LAS", "SRP", "PIR"])
@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_a_mirrored_or_permuted_file_is_prepared_to_the_same_volume(codes, spacing):
    rng = np.random.default_rng(4)
    array, affine = rng.normal(size=(33, 40, 27)).astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0])
    twin, twin_affine = stored_as(array, affine, codes)
    plan = make_plan(spacing_mm=(spacing,) * 3, crop="foreground", intensity={"scheme": "zscore"})
    prepared, prepared_twin = prepare([array], affine, plan), prepare([twin], twin_affine, plan)
    np.testing.assert_allclose(prepared.affine, prepared_twin.affine, rtol=0, atol=1e-9)
    # Positions between voxels may round differently, by one step of the store at most.
    one_step = 2.0**-12 if spacing == 2.0 else 0
    np.testing.assert_allclose(prepared.array, prepared_twin.array, rtol=0, atol=one_step)


def test_a_scan_on_the_target_grid_is_only_turned_and_cut():
    array = np.random.default_rng(0).integers(-1000, 1000, (30, 30, 30)).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    scan = Grid(array.shape, affine)
    target = network_grid(scan, scan.to_world(scan.center), "SPL", (1.0, 1.0, 1.0), (20, 30, 40))
    result = resample(array, affine, target, fill=7)
    np.testing.assert_array_equal(result[:, :, 5:35], array[:, :, 5:25].transpose(2, 1, 0))
    assert (result[:, :, :5] == 7).all() and (result[:, :, 35:] == 7).all()


def test_the_fill_begins_at_the_edge_of_the_outermost_voxel():
    target = Grid((8, 1, 1), np.diag([0.5, 1.0, 1.0, 1.0]) + np.array([[0, 0, 0, -1.0], *[[0] * 4] * 3]))
    result = resample(np.full((2, 1, 1), 3.0, np.float32), np.eye(4), target, fill=-1)
    np.testing.assert_array_equal(result.ravel(), [-1, 3, 3, 3, 3, -1, -1, -1])


@pytest.mark.parametrize("tilt", ["keep", "straighten"])
def test_a_target_beside_the_scan_holds_only_the_fill(tilt):
    affine = centered_affine(random_linear(np.random.default_rng(7)), (8, 8, 8), np.zeros(3))
    target = network_grid(Grid((8, 8, 8), affine), np.full(3, 500.0), "SPL", (1.0, 1.0, 1.0), (4, 4, 4), tilt)
    assert (resample(np.ones((8, 8, 8), np.float32), affine, target, fill=5) == 5).all()


@pytest.mark.parametrize("tilt", ["keep", "straighten"])
def test_what_is_put_back_on_the_original_grid_is_the_original(tilt):
    rng = np.random.default_rng(6)
    for _ in range(5):
        linear = random_linear(rng)
        linear *= 2 / np.linalg.norm(linear, axis=0)
        shape = (18, 20, 22)
        affine = centered_affine(linear, shape, rng.normal(0, 30, 3))
        smooth = blob(shape, affine, affine[:3, :3] @ (np.array(shape) / 2) + affine[:3, 3], width_mm=8)
        plan = make_plan(spacing_mm=(1.0, 1.0, 1.0), size_voxels=(60, 60, 60), tilt=tilt)
        prepared = prepare([smooth], affine, plan)
        back = to_original_grid(prepared.array[0], prepared.affine, shape, affine)
        inside = (
            np.abs(
                world_of_voxels(shape, affine) - prepared.affine[:3, :3] @ np.full(3, 29.5) - prepared.affine[:3, 3]
            ).max(-1)
            < 15
        )
        assert np.abs(back - smooth)[inside].max() < 0.05 * np.ptp(smooth)
