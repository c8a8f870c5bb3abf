"""Pooling over the images of a volume: embeddings (B, N, F) -> one embedding (B, F) and a weight per image.

Axes: B batch, N images of one volume, F features. Weights (B, N) are not negative and sum to one.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from pipeline.core.registry import Registry
from pipeline.models.transformer import TransformerBlock


class PooledSlices(NamedTuple):
    """One embedding for the volume, and the weight of each image in it."""

    embedding: Tensor
    """(B, F)"""
    weights: Tensor
    """(B, N)"""


POOLINGS: Registry[Callable[..., nn.Module]] = Registry("slice pooling")


@POOLINGS.register("mean")
class MeanPooling(nn.Module):
    """Every image has the same weight."""

    def __init__(self, num_features: int, /) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor) -> PooledSlices:
        weights = torch.ones_like(embeddings[..., 0]) / embeddings.shape[1]
        return PooledSlices(embeddings.mean(dim=1), weights)


@POOLINGS.register("max")
class MaxPooling(nn.Module):
    """Each feature takes its largest value; an image's weight is its share of those values."""

    def __init__(self, num_features: int, /) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor) -> PooledSlices:
        largest, winner = embeddings.max(dim=1)
        images = torch.arange(embeddings.shape[1], device=embeddings.device)
        wins = rearrange(winner, "b f -> b 1 f") == rearrange(images, "n -> n 1")
        return PooledSlices(largest, wins.to(embeddings.dtype).mean(dim=2))


@POOLINGS.register("attention")
class AttentionPooling(nn.Module):
    """A learned score per image, softmax over images (Ilse et al., arXiv:1802.04712, eq. 8)."""

    def __init__(self, num_features: int, /, hidden_features: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_features, hidden_features)
        self.score = nn.Linear(hidden_features, 1)

    def forward(self, embeddings: Tensor) -> PooledSlices:
        weights = self.scores(embeddings).softmax(dim=1)
        return PooledSlices((weights.unsqueeze(2) * embeddings).sum(dim=1), weights)

    def scores(self, embeddings: Tensor) -> Tensor:
        """(B, N, F) -> (B, N), before the softmax."""
        return self.score(self.hidden(embeddings).tanh()).squeeze(2)


@POOLINGS.register("gated_attention")
class GatedAttentionPooling(AttentionPooling):
    """Attention whose hidden features are gated by a learned sigmoid (arXiv:1802.04712, eq. 9)."""

    def __init__(self, num_features: int, /, hidden_features: int = 128) -> None:
        super().__init__(num_features, hidden_features)
        self.gate = nn.Linear(num_features, hidden_features)

    def scores(self, embeddings: Tensor) -> Tensor:
        return self.score(self.hidden(embeddings).tanh() * self.gate(embeddings).sigmoid()).squeeze(2)


def sinusoid_positions(length: int, num_features: int, like: Tensor) -> Tensor:
    """Sines and cosines of the image index (arXiv:1706.03762), (length, num_features), for any length."""
    half = (num_features + 1) // 2
    frequencies = torch.exp(torch.arange(half, device=like.device) * (-math.log(10_000.0) / half))
    angles = torch.arange(length, device=like.device).unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :num_features].to(like.dtype)


@POOLINGS.register("transformer")
class TransformerPooling(nn.Module):
    """A transformer relates the images and their order; attention then pools them."""

    def __init__(
        self,
        num_features: int,
        /,
        depth: int = 1,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_rate: float = 0.0,
        hidden_features: int = 128,
    ) -> None:
        super().__init__()
        block = partial(TransformerBlock, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_rate=drop_rate)
        self.blocks = nn.Sequential(*[block(num_features) for _ in range(depth)])
        self.norm = nn.LayerNorm(num_features)
        self.readout = AttentionPooling(num_features, hidden_features)

    def forward(self, embeddings: Tensor) -> PooledSlices:
        _, length, num_features = embeddings.shape
        positions = sinusoid_positions(length, num_features, like=embeddings)
        return self.readout(self.norm(self.blocks(embeddings + positions)))
