"""Pooling over slices, against the formulas written out."""

import pytest
import torch

from pipeline.models.volume.slice_pooling import POOLINGS

FEATURES = 16


def embeddings(num_images: int = 7) -> torch.Tensor:
    return torch.randn(3, num_images, FEATURES, generator=torch.Generator().manual_seed(0))


def pooling(name: str, **options: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return POOLINGS.get(name)(FEATURES, **options).eval()


@pytest.mark.parametrize("name", POOLINGS)
def test_weights_are_positive_and_sum_to_one(name):
    weights = pooling(name)(embeddings()).weights
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("name", ["mean", "attention", "gated_attention"])
def test_embedding_is_the_weighted_sum_of_the_slices(name):
    slices = embeddings()
    pooled = pooling(name)(slices)
    expected = torch.einsum("bn,bnf->bf", pooled.weights, slices)
    torch.testing.assert_close(pooled.embedding, expected)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_single_slice_counts_fully(name):
    assert torch.equal(pooling(name)(embeddings(num_images=1)).weights, torch.ones(3, 1))


@pytest.mark.parametrize("name", ["mean", "max", "attention", "gated_attention"])
def test_order_of_slices_does_not_matter(name):
    slices, order = embeddings(), torch.tensor([3, 1, 0, 6, 5, 2, 4])
    torch.testing.assert_close(pooling(name)(slices[:, order]).embedding, pooling(name)(slices).embedding)


def test_order_of_slices_matters_to_the_transformer():
    slices = embeddings()
    pool = pooling("transformer")
    assert not torch.allclose(pool(slices.flip(1)).embedding, pool(slices).embedding, atol=1e-4)


def test_max_weighs_a_slice_by_the_features_it_wins():
    slices = torch.tensor([[[5.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 0.0]]])
    pooled = POOLINGS.get("max")(4)(slices)
    assert pooled.embedding.tolist() == [[5.0, 2.0, 3.0, 4.0]]
    assert pooled.weights.tolist() == [[0.25, 0.75, 0.0]]


def test_attention_follows_the_paper():
    slices, pool = embeddings(), pooling("attention")
    hidden = torch.tanh(slices @ pool.hidden.weight.T + pool.hidden.bias)
    scores = (hidden @ pool.score.weight.T + pool.score.bias)[..., 0]
    torch.testing.assert_close(pool(slices).weights, scores.exp() / scores.exp().sum(dim=1, keepdim=True))


def test_gated_attention_follows_the_paper():
    slices, pool = embeddings(), pooling("gated_attention")
    hidden = torch.tanh(slices @ pool.hidden.weight.T + pool.hidden.bias)
    gate = 1 / (1 + torch.exp(-(slices @ pool.gate.weight.T + pool.gate.bias)))
    scores = ((hidden * gate) @ pool.score.weight.T + pool.score.bias)[..., 0]
    torch.testing.assert_close(pool(slices).weights, scores.exp() / scores.exp().sum(dim=1, keepdim=True))


def test_attention_finds_the_slice_that_matters():
    """Slices are noise but for one, which carries the label: after training it has the largest weight."""
    torch.manual_seed(0)
    slices, labels = torch.randn(64, 9, FEATURES), torch.arange(64) % 2
    marked = torch.randint(9, (64,))
    slices[torch.arange(64), marked, 0] = 6.0
    slices[torch.arange(64), marked, 1] = 6.0 * (2.0 * labels - 1)
    pool, head = POOLINGS.get("gated_attention")(FEATURES), torch.nn.Linear(FEATURES, 2)
    optimizer = torch.optim.Adam([*pool.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(pool(slices).embedding), labels).backward()
        optimizer.step()
    assert (pool(slices).weights.argmax(dim=1) == marked).float().mean() > 0.9


@pytest.mark.parametrize("name", POOLINGS)
def test_bfloat16_autocast_is_near_float32(name):
    slices, pool = embeddings(), pooling(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = pool(slices).embedding
    torch.testing.assert_close(half.float(), pool(slices).embedding, atol=0.05, rtol=0.05)


def test_transformer_depth_and_heads_reach_the_network():
    pool = pooling("transformer", depth=3, num_heads=4)
    assert len(pool.blocks) == 3
    assert {block.attn.num_heads for block in pool.blocks} == {4}


def test_heads_that_do_not_divide_the_width_are_rejected():
    with pytest.raises(ValueError, match="num_heads 5"):
        POOLINGS.get("transformer")(FEATURES, num_heads=5)
