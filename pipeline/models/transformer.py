"""The transformer block: attention and feed-forward, each pre-normalized and added to its input.

Axes: B batch, N tokens, F features.
"""

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.layers import DropPath
from pipeline.models.registry import check_choice

EPS = 1e-6
"""Epsilon of every norm here, timm's value for vision transformers."""


class SwiGLU(nn.Module):
    """Half of the features, through SiLU, gates the other half (arXiv:2002.05202): (..., 2F) -> (..., F)."""

    def forward(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value


class SquaredReLU(nn.Module):
    """ReLU squared (arXiv:2109.08668)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


ACTIVATIONS = {"gelu": nn.GELU, "swiglu": SwiGLU, "relu2": SquaredReLU}
NORMS = {"layernorm": nn.LayerNorm, "rmsnorm": nn.RMSNorm}


class Attention(nn.Module):
    """Self-attention of `num_heads` queries over `num_kv_heads` keys and values.

    As many of both is multi-head attention, fewer keys grouped-query (arXiv:2305.13245), one multi-query.
    Shape: (B, N, F) -> (B, N, F).
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_kv_heads: int | None = None,
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        num_kv_heads = num_kv_heads or num_heads
        if dim % num_heads or num_heads % num_kv_heads:
            raise ValueError(
                f"attention: num_kv_heads must divide num_heads and num_heads the width, "
                f"got num_kv_heads {num_kv_heads}, num_heads {num_heads}, width {dim}"
            )
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, dim // num_heads
        self.attn_drop_rate = attn_drop_rate
        self.qkv = nn.Linear(dim, (num_heads + 2 * num_kv_heads) * self.head_dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        heads = rearrange(self.qkv(x), "b n (heads d) -> b heads n d", d=self.head_dim)
        query, key, value = heads.split([self.num_heads, self.num_kv_heads, self.num_kv_heads], dim=1)
        dropout = self.attn_drop_rate if self.training else 0.0
        is_grouped = self.num_kv_heads != self.num_heads
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, enable_gqa=is_grouped)
        return self.proj_drop(self.proj(rearrange(mixed, "b heads n d -> b n (heads d)")))


class FeedForward(nn.Module):
    """Two linear layers around an activation. SwiGLU's hidden width shrinks by 2/3, so that all cost the same."""

    def __init__(self, dim: int, *, mlp_ratio: float = 4.0, activation: str = "gelu", drop_rate: float = 0.0) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        is_gated = activation == "swiglu"
        hidden = int(dim * mlp_ratio * (2 / 3 if is_gated else 1))
        self.fc1 = nn.Linear(dim, 2 * hidden if is_gated else hidden)
        self.act = ACTIVATIONS[activation]()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, each on its normalized input. Shape: (B, N, F) -> (B, N, F)."""

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_kv_heads: int | None = None,
        mlp_ratio: float = 4.0,
        activation: str = "gelu",
        norm: str = "layernorm",
        qkv_bias: bool = True,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("norm", norm, NORMS)
        self.norm1 = NORMS[norm](dim, eps=EPS)
        self.attn = Attention(
            dim,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            qkv_bias=qkv_bias,
            drop_rate=drop_rate,
            attn_drop_rate=attn_drop_rate,
        )
        self.norm2 = NORMS[norm](dim, eps=EPS)
        self.mlp = FeedForward(dim, mlp_ratio=mlp_ratio, activation=activation, drop_rate=drop_rate)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
