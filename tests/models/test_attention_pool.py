"""Attention pooling against open_clip's, and where it goes further."""

import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d
from timm.layers import resample_abs_pos_embed
from torch import nn

from pipeline.models.attention_pool import AttentionPool

DIM, OUT, HEADS = 24, 10, 3


def reference_pool(side: int) -> AttentionPool2d:
    return AttentionPool2d(side, DIM, HEADS, OUT)


def test_square_maps_pool_as_in_open_clip():
    reference = reference_pool(5)
    pool = AttentionPool(DIM, OUT, grid=(5, 5), num_heads=HEADS)
    pool.load_state_dict(reference.state_dict(), strict=True)
    maps = torch.randn(3, DIM, 5, 5)
    assert torch.allclose(pool(maps), reference(maps), atol=1e-5)


@pytest.mark.parametrize("size", [(7, 7), (3, 8), (1, 1), (1, 6)])
def test_maps_of_any_size_and_aspect_pool_with_interpolated_positions(size):
    pool = AttentionPool(DIM, OUT, grid=(5, 5), num_heads=HEADS)
    reference = reference_pool(5)
    reference.load_state_dict(pool.state_dict())
    resized = resample_abs_pos_embed(pool.positional_embedding[None], size, (5, 5), num_prefix_tokens=1)[0]
    reference.positional_embedding = nn.Parameter(resized.detach())
    maps = torch.randn(2, DIM, *size)
    assert torch.allclose(pool(maps), reference(maps), atol=1e-5)


def test_a_volume_pools_like_the_image_of_all_its_tokens():
    pool = AttentionPool(DIM, OUT, grid=(2, 3, 4), num_heads=HEADS)
    flat = AttentionPool(DIM, OUT, grid=(6, 4), num_heads=HEADS)
    flat.load_state_dict(pool.state_dict())
    maps = torch.randn(2, DIM, 2, 3, 4)
    assert torch.allclose(pool(maps), flat(maps.flatten(2, 3)), atol=1e-6)


def test_layer_norm_makes_pooling_blind_to_the_scale_of_the_map():
    maps = torch.randn(2, DIM, 4, 4)
    for norm in (False, True):
        pool = AttentionPool(DIM, OUT, grid=(4, 4), num_heads=HEADS, norm=norm)
        nn.init.zeros_(pool.positional_embedding)
        assert torch.allclose(pool(100 * maps), pool(10 * maps), rtol=1e-3, atol=1e-4) == norm


def test_start_is_clips_normal_or_xaviers_uniform():
    start = {init: AttentionPool(256, 64, grid=(2, 2), num_heads=4, init=init) for init in ("clip", "xavier")}
    bound = (6 / (256 + 64)) ** 0.5
    assert start["xavier"].c_proj.weight.abs().max() <= bound
    assert start["xavier"].c_proj.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert all(not linear.bias.any() for linear in start["xavier"].modules() if isinstance(linear, nn.Linear))
    assert start["clip"].c_proj.weight.std().item() == pytest.approx(256**-0.5, rel=0.05)
    assert start["clip"].c_proj.weight.abs().max() > 3 * 256**-0.5


def test_unknown_start_names_the_nearest():
    with pytest.raises(ValueError, match="unknown value 'xavir'. Did you mean 'xavier'?"):
        AttentionPool(DIM, OUT, grid=(2, 2), num_heads=HEADS, init="xavir")
