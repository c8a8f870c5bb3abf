"""Pretrained weights: adaptations are exact, and every other difference is rejected or named."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from pipeline.models import build_model, load_pretrained

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
