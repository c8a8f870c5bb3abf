"""The transformer block against torch's and timm's layers."""

import pytest
import torch
from timm.layers import SwiGLUPacked
from torch import nn

from pipeline.models.transformer import Attention, FeedForward, TransformerBlock

TOKENS = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(0))


def test_multi_head_attention_equals_torchs():
    attention = Attention(24, num_heads=4)
    reference = nn.MultiheadAttention(24, 4, batch_first=True)
    reference.in_proj_weight, reference.in_proj_bias = attention.qkv.weight, attention.qkv.bias
    reference.out_proj = attention.proj
    assert torch.allclose(attention(TOKENS), reference(TOKENS, TOKENS, TOKENS)[0], atol=1e-6)


@pytest.mark.parametrize("num_kv_heads", [1, 2])
def test_grouped_attention_equals_multi_head_with_repeated_keys_and_values(num_kv_heads):
    grouped = Attention(24, num_heads=4, num_kv_heads=num_kv_heads)
    full = Attention(24, num_heads=4)
    assert grouped.qkv.out_features == 24 + 2 * 6 * num_kv_heads
    for name in ("weight", "bias"):
        heads = getattr(grouped.qkv, name).unflatten(0, (-1, 6))
        query, key, value = heads.split([4, num_kv_heads, num_kv_heads])
        repeated = [part.repeat_interleave(4 // num_kv_heads, dim=0) for part in (key, value)]
        setattr(full.qkv, name, nn.Parameter(torch.cat([query, *repeated]).flatten(0, 1).detach()))
    full.proj = grouped.proj
    assert torch.allclose(grouped(TOKENS), full(TOKENS), atol=1e-6)


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(5, None), (4, 3)])
def test_heads_that_do_not_divide_are_rejected(num_heads, num_kv_heads):
    with pytest.raises(ValueError, match="num_kv_heads must divide num_heads and num_heads the width"):
        Attention(24, num_heads=num_heads, num_kv_heads=num_kv_heads)


def test_swiglu_equals_timms():
    feed_forward = FeedForward(24, mlp_ratio=4, activation="swiglu")
    reference = SwiGLUPacked(24, 2 * feed_forward.fc2.in_features)
    reference.load_state_dict(feed_forward.state_dict())
    assert torch.allclose(feed_forward(TOKENS), reference(TOKENS), atol=1e-6)


def test_swiglu_costs_what_the_others_cost():
    sizes = [
        sum(weight.numel() for weight in FeedForward(48, activation=activation).parameters() if weight.dim() == 2)
        for activation in ("gelu", "relu2", "swiglu")
    ]
    assert sizes[0] == sizes[1] == sizes[2]


def test_squared_relu_is_the_square_of_the_positive_part():
    feed_forward = FeedForward(2, mlp_ratio=1, activation="relu2")
    for linear in (feed_forward.fc1, feed_forward.fc2):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    assert torch.equal(feed_forward(torch.tensor([3.0, -2.0])), torch.tensor([9.0, 0.0]))


def test_rms_norm_divides_by_the_root_mean_square_and_leaves_no_layer_norm():
    block = TransformerBlock(24, num_heads=4, norm="rmsnorm")
    expected = TOKENS / TOKENS.square().mean(-1, keepdim=True).sqrt()
    assert torch.allclose(block.norm1(TOKENS), expected, atol=1e-5)
    assert not any(isinstance(module, nn.LayerNorm) for module in block.modules())


@pytest.mark.parametrize("option", [{"activation": "gleu"}, {"norm": "layer_norm"}])
def test_unknown_words_name_the_nearest(option):
    with pytest.raises(ValueError, match="Did you mean '(gelu|layernorm)'?"):
        TransformerBlock(24, num_heads=4, **option)


@pytest.mark.parametrize("option", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_each_kind_of_dropping_acts_in_training_only(option):
    block = TransformerBlock(24, num_heads=4, **{option: 0.5})
    assert not torch.equal(block(TOKENS), block(TOKENS))
    block.eval()
    assert torch.equal(block(TOKENS), block(TOKENS))
