import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from pipeline.data.augmentation.spatial import elastic, flip, plane_rotation, random_crop, rotate

ISOTROPIC = (1.0, 1.0, 1.0)


def smooth(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(ndimage.gaussian_filter(noise, 2).astype(np.float32))


def centroid(volume: torch.Tensor) -> np.ndarray:
    return np.array(ndimage.center_of_mass(volume.numpy()))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.5, 0.8)])
def test_a_turn_is_scipys_rotation_in_millimeters(spacing):
    image, angle = smooth((40, 52)), 0.2
    matrix = plane_rotation(angle, np.array(image.shape) * spacing, np.zeros(2))
    grid = functional.affine_grid(matrix[None], [1, 1, 40, 52], align_corners=False)
    ours = functional.grid_sample(image[None, None], grid, align_corners=False)[0, 0].numpy()
    to_source = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    voxels = np.diag(1 / np.array(spacing)) @ to_source @ np.diag(spacing)
    center = (np.array(image.shape) - 1) / 2
    theirs = ndimage.affine_transform(image.numpy(), voxels, center - voxels @ center, order=1)
    np.testing.assert_allclose(ours[8:-8, 8:-8], theirs[8:-8, 8:-8], atol=1e-4)


def test_turning_about_one_axis_leaves_each_of_its_slices_to_itself():
    slices = torch.arange(6.0).view(6, 1, 1).expand(6, 20, 20)
    for seed in range(5):
        turned = rotate(slices, np.random.default_rng(seed), axes=(0,), spacing_mm=(5.0, 1.0, 1.0))
        torch.testing.assert_close(turned, slices, atol=1e-5, rtol=0)


def test_turns_go_both_ways_about_every_axis_by_fifteen_degrees_at_most():
    line = torch.zeros(41, 41, 41)
    line[20, 20, 30] = line[20, 20, 29] = line[20, 20, 31] = 1
    moves = []
    for seed in range(60):
        turned = rotate(line, np.random.default_rng(seed), axes=(0, 1, 2), spacing_mm=ISOTROPIC)
        moves.append(centroid(turned) - centroid(line))
    reach = 10 * np.sin(np.deg2rad(15)) + 0.05 * 41 + 0.2
    across = np.array(moves)[:, :2]
    assert np.abs(across).max() < reach
    assert (across.max(0) > 1).all() and (across.min(0) < -1).all()


def test_flip_mirrors_its_axis():
    volume = smooth((4, 5, 6))
    np.testing.assert_array_equal(flip(volume, np.random.default_rng(0), axis=2).numpy(), volume.numpy()[:, :, ::-1])


def test_deforming_changes_size_and_shape_but_no_values_beyond_the_range():
    ball = torch.from_numpy((np.linalg.norm(np.indices((32, 32, 32)) - 15.5, axis=0) < 9).astype(np.float32))
    volumes = []
    for seed in range(20):
        deformed = elastic(ball, np.random.default_rng(seed))
        assert deformed.min() > -1e-5 and deformed.max() < 1 + 1e-5
        assert np.abs(centroid(deformed) - 15.5).max() < 4
        volumes.append(float(deformed.sum() / ball.sum()))
    assert min(volumes) < 0.9 and max(volumes) > 1.1


def test_a_constant_volume_stays_constant_wherever_it_moves():
    constant = torch.full((12, 13, 14), 3.0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        torch.testing.assert_close(rotate(constant, rng, axes=(0, 1, 2), spacing_mm=ISOTROPIC), constant)
        torch.testing.assert_close(elastic(constant, rng), constant)


def test_a_random_crop_is_a_window_of_the_scan_padded_by_its_border():
    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 12, 20)).astype(np.float32))
    padded = np.pad(volume.numpy(), [(2, 2), (3, 3), (5, 5)], mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, volume.shape).reshape(-1, *volume.shape)
    cropped = [random_crop(volume, np.random.default_rng(seed), share=0.25).numpy() for seed in range(30)]
    found = [int(np.flatnonzero((windows == one).all((1, 2, 3)))[0]) for one in cropped]
    assert len(set(found)) > 20
