"""Attention pooling: a map becomes one vector, read by attention from its mean.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W), N tokens, F features.
"""

from collections.abc import Sequence
from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.pretrained.load import resize_positions
from pipeline.models.registry import check_choice

INITS = ("clip", "xavier")


class AttentionPool(nn.Module):
    """CLIP's pooling (arXiv:2103.00020), with its parameter names, on maps of any size, aspect and dimension.

    Positions are learned on `grid` and interpolated for any other. `norm` puts a LayerNorm on the tokens,
    which come from a ReLU and are otherwise as large as the network made them. `init` is CLIP's normal
    start or Xavier's uniform one with zero biases. Shape: (B, C, *S) -> (B, F).
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        *,
        grid: Sequence[int],
        num_heads: int,
        norm: bool = False,
        init: str = "clip",
    ) -> None:
        super().__init__()
        check_choice("attention pooling init", init, INITS)
        self.grid, self.num_heads, self.init = tuple(grid), num_heads, init
        self.positional_embedding = nn.Parameter(torch.empty(1 + prod(grid), dim))
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.c_proj = nn.Linear(dim, out_dim)
        self.init_weights()

    def init_weights(self) -> None:
        std = self.positional_embedding.shape[1] ** -0.5
        nn.init.normal_(self.positional_embedding, std=std)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            if self.init == "clip":
                nn.init.normal_(linear.weight, std=std)
            else:
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        tokens = rearrange(x, "b f ... -> b (...) f")
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        tokens = self.norm(tokens + resize_positions(self.positional_embedding, self.grid, x.shape[2:]))
        # Only the mean is a query: no other row of the attention matrix is used.
        query = self._heads(self.q_proj(tokens[:, :1]))
        key, value = self._heads(self.k_proj(tokens)), self._heads(self.v_proj(tokens))
        pooled = F.scaled_dot_product_attention(query, key, value)
        return self.c_proj(rearrange(pooled, "b heads 1 d -> b (heads d)"))

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (heads d) -> b heads n d", heads=self.num_heads)
