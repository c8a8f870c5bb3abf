"""Pretrained weights: adaptations are exact, and every other difference is rejected or named."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch.nn import functional

from pipeline.models import build_model, load_pretrained
from pipeline.models.pretrained.load import fit_positions, inflate_kernel, inflate_weights, resize_positions

TINY = dict(depths=(1, 1, 1, 1), dims=(4, 6, 8, 10), layer_scale_init_value=0.5)


def tiny(**options):
    return build_model("poolformer_s12", **TINY | dict(spatial_dims=2, in_channels=3, num_classes=5) | options).eval()


@pytest.fixture
def source():
    return tiny()


@pytest.fixture
def path(source, tmp_path):
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def edit(path, removed=(), **changed) -> None:
    """Write the weights at `path` again without some tensors and with others."""
    weights = torch.load(path) if path.suffix == ".pth" else tiny().state_dict()
    weights = {name: value for name, value in weights.items() if name not in removed}
    save_file(weights | changed, path)


def test_same_network_gives_the_same_logits(source, path):
    images = torch.randn(2, 3, 40, 50)
    assert torch.equal(tiny(pretrained=path)(images), source(images))


@pytest.mark.parametrize("in_channels", [1, 2, 5])
def test_gray_image_in_any_number_of_channels_gives_the_response_of_the_original(source, path, in_channels):
    gray = torch.randn(2, 1, 40, 50)
    adapted = tiny(in_channels=in_channels, pretrained=path)
    expected = source(gray.expand(-1, 3, -1, -1))
    assert torch.allclose(adapted(gray.expand(-1, in_channels, -1, -1)), expected, atol=1e-5)


def test_weights_for_images_of_three_channels_become_those_of_a_gray_volume(source, path):
    deep = build_model("poolformer_s12", **TINY, spatial_dims=3, num_classes=5, pretrained=path).eval()
    gray = torch.randn(1, 1, 40, 50)
    volume = gray.unsqueeze(2).expand(-1, -1, 33, -1, -1)
    assert torch.allclose(deep(volume), source(gray.expand(-1, 3, -1, -1)), atol=1e-5)


def test_inflation_by_mean_spreads_the_kernels(source, path):
    deep = build_model("poolformer_s12", **TINY, in_channels=3, num_classes=5, pretrained=path, inflation="mean")
    assert torch.allclose(deep.stem.weight, source.stem.weight.unsqueeze(2).expand(-1, -1, 7, -1, -1) / 7)


def test_head_for_other_classes_is_left_fresh_and_named_in_the_log(path, caplog):
    network = tiny(num_classes=2)
    fresh = network.head.weight.clone()
    with caplog.at_level(logging.INFO):
        report = load_pretrained(network, path)
    assert torch.equal(network.head.weight, fresh)
    assert sorted(report.replaced) == ["head.bias", "head.weight"]
    assert f"replaced: {', '.join(report.replaced)}" in caplog.text


def test_encoder_without_a_head_takes_a_checkpoint_with_one(source, path):
    images = torch.randn(2, 3, 40, 50)
    embedding = source.forward_head(source.forward_features(images), pre_logits=True)
    assert torch.equal(tiny(num_classes=0, pretrained=path)(images), embedding)


def test_report_names_all_that_was_not_a_plain_copy(path):
    edit(path, removed=["norm.bias"])
    deep = build_model("poolformer_s12", **TINY, num_classes=5)
    report = load_pretrained(deep, path, allow_missing=["norm"])
    downsamplings = tuple(f"stages.{index}.downsample.weight" for index in (1, 2, 3))
    assert sorted(report.inflated) == sorted(("stem.weight", *downsamplings))
    assert report.adapted == ("stem.weight",)
    assert report.replaced == ()
    assert report.allowed == ("norm.bias",)
    assert set(report.loaded) == set(deep.state_dict()) - {"norm.bias"}


def test_everything_that_does_not_fit_is_listed_and_refused(path):
    edit(path, removed=["norm.bias"], extra=torch.ones(2), **{"norm.weight": torch.ones(11)})
    with pytest.raises(ValueError, match="3 tensors do not fit") as error:
        tiny(pretrained=path)
    assert "norm.bias: missing" in str(error.value)
    assert "norm.weight: shape (11,), expected (10,)" in str(error.value)
    assert "extra: unexpected" in str(error.value)


def test_what_is_allowed_by_name_stays_as_it_was_built(path):
    edit(path, removed=["norm.bias"], extra=torch.ones(2), **{"norm.weight": torch.full((11,), 3.0)})
    network = tiny(pretrained=path, allow_missing=["norm", "extra"])
    assert torch.equal(network.norm.weight, torch.ones(10))
    with pytest.raises(ValueError, match="1 tensors do not fit"):
        tiny(pretrained=path, allow_missing=["norm"])


def test_missing_head_is_rejected_unless_allowed(path):
    edit(path, removed=["head.weight", "head.bias"])
    with pytest.raises(ValueError, match="head.weight: missing"):
        tiny(pretrained=path)
    tiny(pretrained=path, allow_missing=["head"])


def test_allowed_name_that_is_nowhere_names_the_nearest(path):
    with pytest.raises(ValueError, match="nothing is called 'haed'. Did you mean 'head'"):
        tiny(pretrained=path, allow_missing=["haed"])


def test_other_kernel_size_of_the_first_convolution_is_not_guessed(path):
    with pytest.raises(ValueError, match=r"stem.weight: shape \(4, 3, 7, 7\), expected \(4, 3, 3, 3\)"):
        tiny(stem_size=3, stem_stride=2, pretrained=path)


def test_batch_norm_counters_may_be_missing_as_in_older_files(tmp_path):
    network = build_model("resnet18", depths=(1, 1, 1, 1), spatial_dims=2)
    weights = {name: v for name, v in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    save_file(weights, tmp_path / "old.safetensors")
    load_pretrained(network, tmp_path / "old.safetensors")


IMAGE = torch.randn(1, 2, 9, 8, generator=torch.Generator().manual_seed(0))
KERNEL = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(1))
DEPTH = 7


def convolve_repeated(inflation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The inflated kernel on the repeated image, and the 2D one on the image, repeated."""
    volume = IMAGE.unsqueeze(2).expand(-1, -1, DEPTH, -1, -1)
    found = functional.conv3d(volume, inflate_kernel(KERNEL, 3, inflation), padding=1)
    return found, functional.conv2d(IMAGE, KERNEL, padding=1).unsqueeze(2).expand_as(found)


def test_center_inflation_is_exact_up_to_the_border():
    found, expected = convolve_repeated("center")
    assert torch.allclose(found, expected, atol=1e-5)


def test_mean_inflation_is_exact_inside_and_fades_at_the_border():
    found, expected = convolve_repeated("mean")
    assert torch.allclose(found[:, :, 1:-1], expected[:, :, 1:-1], atol=1e-5)
    assert torch.allclose(found[:, :, 0], expected[:, :, 0] * 2 / 3, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 4, 7])
@pytest.mark.parametrize("inflation", ["center", "mean"])
def test_kernel_summed_over_depth_is_the_2d_kernel(depth, inflation):
    assert torch.allclose(inflate_kernel(KERNEL, depth, inflation).sum(2), KERNEL, atol=1e-6)


def test_only_kernels_that_are_3d_in_the_network_are_inflated():
    weights = {"conv": KERNEL, "linear": torch.ones(4, 2), "other": KERNEL}
    shapes = {"conv": torch.Size((4, 2, 5, 3, 3)), "linear": torch.Size((4, 2))}
    inflated = inflate_weights(weights, shapes)
    assert inflated["conv"].shape == (4, 2, 5, 3, 3)
    assert inflated["linear"] is weights["linear"] and inflated["other"] is KERNEL


def test_unknown_inflation_names_the_nearest():
    with pytest.raises(ValueError, match="inflation: unknown value 'centre'. Did you mean 'center'"):
        inflate_kernel(KERNEL, 3, "centre")


@pytest.mark.parametrize("new_grid", [(7, 7), (3, 9), (14, 5), (1, 1)])
def test_resizing_in_2d_equals_timms(new_grid):
    positions = torch.randn(1 + 49, 12)
    expected = resample_abs_pos_embed(positions[None], new_grid, (7, 7), num_prefix_tokens=1)[0]
    assert torch.allclose(resize_positions(positions, (7, 7), new_grid), expected, atol=1e-6)


def test_resizing_in_3d_keeps_a_linear_course_linear():
    course = torch.linspace(0, 1, 8)
    positions = course.view(8, 1, 1).expand(8, 4, 4).reshape(-1, 1)
    resized = resize_positions(positions, (8, 4, 4), (4, 2, 2)).view(4, 2, 2)
    assert torch.allclose(resized, course.view(4, 2).mean(1).view(4, 1, 1).expand(4, 2, 2))


def test_prefix_tokens_are_not_interpolated():
    positions = torch.randn(2 + 27, 5)
    assert torch.equal(resize_positions(positions, (3, 3, 3), (5, 1, 2))[:2], positions[:2])


def test_half_precision_stays_half():
    positions = torch.randn(1 + 16, 6)
    resized = resize_positions(positions.bfloat16(), (4, 4), (6, 3))
    assert resized.dtype == torch.bfloat16
    assert torch.allclose(resized.float(), resize_positions(positions, (4, 4), (6, 3)), atol=0.05)


def test_positions_of_images_are_the_same_in_every_slice_of_a_volume():
    positions = torch.randn(1 + 16, 6)
    fitted = fit_positions(positions, 1, trained_dims=2, grid=(3, 2, 5))
    planar = resize_positions(positions, (4, 4), (2, 5))
    assert torch.equal(fitted[:1], positions[:1])
    for one_slice in fitted[1:].view(3, 10, 6):
        assert torch.equal(one_slice, planar[1:])


def test_positions_of_a_cube_fit_another_volume():
    positions = torch.randn(27, 6)
    fitted = fit_positions(positions, 0, trained_dims=3, grid=(2, 3, 4))
    assert torch.equal(fitted, resize_positions(positions, (3, 3, 3), (2, 3, 4)))


@pytest.mark.parametrize(
    ("rows", "trained_dims", "grid"), [(1 + 12, 2, (4, 4)), (1 + 9, 3, (2, 2, 2)), (1 + 8, 3, (3, 3))]
)
def test_positions_of_an_unknown_grid_are_rejected(rows, trained_dims, grid):
    with pytest.raises(ValueError, match=f"position embeddings: expected a square or cubic grid.*got {rows} rows"):
        fit_positions(torch.zeros(rows, 2), 1, trained_dims, grid)
