"""Views of a volume: which voxels each image holds, and how maps of images become a map of the volume."""

import pytest
import torch

from pipeline.models.volume.views import Planes, Slabs, Slices


def numbered_volume(depth: int = 5, height: int = 4, width: int = 3, channels: int = 2) -> torch.Tensor:
    return torch.arange(channels * depth * height * width, dtype=torch.float32).view(1, channels, depth, height, width)


def test_slices_are_the_planes_along_depth():
    volume = numbered_volume()
    (images,) = Slices().sequences(volume)
    for index in range(5):
        assert torch.equal(images[:, index], volume[:, :, index])


def test_slab_channels_are_a_slice_and_its_neighbors_and_repeat_at_the_ends():
    volume = numbered_volume()
    (images,) = Slabs(thickness=3).sequences(volume)
    expected = {0: (0, 0, 1), 2: (1, 2, 3), 4: (3, 4, 4)}
    for middle, slices in expected.items():
        stacked = torch.cat([volume[:, channel, list(slices)] for channel in range(2)], dim=1)
        assert torch.equal(images[:, middle], stacked)


def test_slab_of_thickness_one_is_the_slice():
    volume = numbered_volume()
    assert torch.equal(Slabs(thickness=1).sequences(volume)[0], Slices().sequences(volume)[0])


def test_slab_step_keeps_every_second_middle():
    volume = numbered_volume()
    assert torch.equal(Slabs(step=2).sequences(volume)[0], Slabs().sequences(volume)[0][:, ::2])


def test_planes_look_along_each_axis():
    volume = numbered_volume()
    axial, coronal, sagittal = Planes().sequences(volume)
    assert torch.equal(axial[:, 1], volume[:, :, 1])
    assert torch.equal(coronal[:, 2], volume[:, :, :, 2])
    assert torch.equal(sagittal[:, 0], volume[..., 0])


def test_one_slice_per_plane_is_the_middle_one():
    volume = numbered_volume(depth=5, height=7, width=9)
    axial, coronal, sagittal = Planes(slices_per_plane=1).sequences(volume)
    assert torch.equal(axial[:, 0], volume[:, :, 2])
    assert torch.equal(coronal[:, 0], volume[:, :, :, 3])
    assert torch.equal(sagittal[:, 0], volume[..., 4])


def test_as_many_slices_per_plane_as_there_are_takes_all():
    volume = numbered_volume(depth=4, height=4, width=4)
    for some, every in zip(Planes(slices_per_plane=4).sequences(volume), Planes().sequences(volume), strict=True):
        assert torch.equal(some, every)


@pytest.mark.parametrize("view", [Slices(), Slabs(thickness=1)])
def test_maps_of_slices_stack_back_into_the_volume(view):
    volume = numbered_volume()
    assert torch.equal(view.volume_map(view.sequences(volume)), volume)


def test_full_size_maps_of_planes_average_to_the_volume():
    volume = numbered_volume()
    torch.testing.assert_close(Planes().volume_map(Planes().sequences(volume)), volume)


def test_pooled_maps_of_planes_average_to_the_pooled_volume():
    volume = torch.randn(2, 3, 8, 4, 12, generator=torch.Generator().manual_seed(0))
    pooled = [torch.nn.functional.avg_pool3d(images, (1, 2, 2)) for images in Planes().sequences(volume.double())]
    expected = torch.nn.functional.avg_pool3d(volume.double(), 2)
    # Each direction pools its image plane first and its slice axis afterwards: the mean over 2 x 2 x 2 voxels.
    torch.testing.assert_close(Planes().volume_map(pooled), expected)


def test_an_even_slab_is_rejected():
    with pytest.raises(ValueError, match="thickness.*odd.*got 4"):
        Slabs(thickness=4)


@pytest.mark.parametrize("build", [lambda: Slabs(step=0), lambda: Planes(slices_per_plane=0)])
def test_sizes_under_one_are_rejected(build):
    with pytest.raises(ValueError, match="1 or more, got 0"):
        build()
