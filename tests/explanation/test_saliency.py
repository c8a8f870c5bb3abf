import pytest
import torch
from torch import Tensor, nn

from pipeline.explanation.saliency import gradcam, hirescam, occlusion
from pipeline.models import build_model


class CornerSum(nn.Module):
    """Class 1 is the sum of one corner of the volume, class 0 its opposite."""

    def forward(self, volume: Tensor) -> Tensor:
        corner = volume[:, 0, :3, :3, :3].sum((1, 2, 3))
        return torch.stack([-corner, corner], dim=1)


def test_occlusion_points_at_what_the_network_reads() -> None:
    volume = torch.zeros(1, 1, 18, 18, 18)
    volume[..., :3, :3, :3] = 1
    evidence = occlusion(CornerSum(), volume, class_index=1)
    assert torch.equal(evidence > 0, volume[0, 0] > 0)
    assert evidence.max() == 1
    assert not occlusion(CornerSum(), volume, class_index=0).any()


@pytest.mark.parametrize("volume_mode", ["slicewise", {"mode": "slicewise", "chunk_slices": 5}])
def test_gradcam_of_a_slicewise_network_is_blind_to_nothing_but_chunking(volume_mode: object) -> None:
    torch.manual_seed(0)
    network = build_model("resnet18", volume=volume_mode).eval()
    torch.manual_seed(0)
    whole = build_model("resnet18", volume="slicewise").eval()
    volume = torch.randn(1, 1, 12, 32, 32)
    assert torch.allclose(gradcam(network, volume, 1), gradcam(whole, volume, 1), atol=1e-4)


def test_gradcam_looks_at_no_stage_behind_the_one_that_a_grid_reads() -> None:
    torch.manual_seed(0)
    network = build_model("resnet18", volume={"mode": "stage_grid", "stage": 1, "pooling": "max"}).eval()
    evidence = [gradcam(network, torch.randn(1, 1, 8, 128, 128), index) for index in (0, 1)]
    assert all(map_of_class.max() == 1 for map_of_class in evidence)


def test_of_a_mean_both_class_activation_maps_are_the_same() -> None:
    torch.manual_seed(0)
    network = build_model("resnet18", volume="slicewise").eval()
    volume = torch.randn(1, 1, 6, 128, 128)
    evidence = gradcam(network, volume, 1)
    assert evidence.max() == 1
    assert torch.allclose(hirescam(network, volume, 1), evidence, atol=1e-5)


def test_of_maxima_the_local_map_shows_what_each_adds_where_it_lies() -> None:
    torch.manual_seed(0)
    network = build_model("resnet18", volume={"mode": "stage_grid", "stage": 1, "grid": 1, "pooling": "max"}).eval()
    volume = torch.randn(1, 1, 5, 64, 64)
    stage = network.forward_stages(volume).stages[1][0]
    largest, place = stage.flatten(1).max(1)
    added = torch.zeros(stage[0].numel()).index_add_(0, place, network.head.weight[1] * largest).view(stage[0].shape)
    expected = nn.functional.interpolate(added.relu()[None, None], volume.shape[2:], mode="trilinear")[0, 0]
    assert torch.allclose(hirescam(network, volume, 1), expected / expected.max(), atol=1e-5)


def test_gradients_of_slicewise_stages_are_those_of_the_pooled_sum() -> None:
    torch.manual_seed(0)
    network = build_model("resnet18", volume="slicewise").eval()
    volume = torch.randn(1, 1, 4, 32, 32)
    _, slopes = network.stage_gradients(volume, 1)
    # The last stage is averaged over pixels and slices before the linear head.
    expected = network.head.weight[1] / slopes[-1][0, 0].numel()
    assert torch.allclose(slopes[-1][0].flatten(1).mean(1), expected, atol=1e-7)


def test_a_network_with_maps_beside_its_way_names_the_other_method() -> None:
    with pytest.raises(ValueError, match="explanation.method=occlusion"):
        gradcam(build_model("vit_tiny", spatial_dims=3).eval(), torch.randn(1, 1, 32, 32, 32), 1)
