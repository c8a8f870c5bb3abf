"""Slice-wise: one 2D network encodes every image of a volume, and a pooling combines the embeddings.

Axes: B batch, C channels, D H W depth height width, N images of one volume, F features, K classes.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from pipeline.models.layers import check_input, classifier_layer
from pipeline.models.network import Network, StageOutputs, recompute
from pipeline.models.volume.views import View


class AttendedSlices(NamedTuple):
    """Logits, and the weight of each image in them."""

    logits: Tensor
    """(B, K)"""
    weights: Tensor
    """(B, N): the weights of the images, in the order of the view; rows sum to one."""


class Slicewise(Network):
    """A 2D encoder under a view of the volume, a pooling over the images and a linear head.

    `encoder` maps images (M, C', H', W') to embeddings (M, F), that is, it was built with `num_classes=0`.
    `chunk_slices` limits how many images are encoded at a time, and in training each chunk is recomputed in the
    backward pass: memory then depends on the chunk, not on the depth. The result is the same, except that batch
    norms in training mode compute their statistics over a chunk.
    Shape: (B, C, D, H, W) -> (B, K).
    """

    def __init__(
        self,
        encoder: Network,
        view: View,
        pooling: nn.Module,
        *,
        in_channels: int,
        num_classes: int,
        chunk_slices: int | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if chunk_slices is not None and chunk_slices < 1:
            raise ValueError(f"volume option 'chunk_slices' must be 1 or more, or null for all, got {chunk_slices}")
        self.encoder = encoder
        self.view = view
        self.pooling = pooling
        self.in_channels = in_channels
        self.num_features = encoder.num_features
        self.chunk_slices = chunk_slices
        self.drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Volume (B, C, D, H, W) -> one embedding per image, (B, N, F)."""
        return torch.cat([self._encode(images) for images in self._sequences(x)], dim=1)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Embeddings of the images (B, N, F) -> logits (B, K), or with `pre_logits` the volume's embedding (B, F)."""
        embedding = self.pooling(features).embedding
        return embedding if pre_logits else self.head(self.drop(embedding))

    def forward_attention(self, x: Tensor) -> AttendedSlices:
        """Logits together with the weight of each image."""
        pooled = self.pooling(self.forward_features(x))
        return AttendedSlices(self.head(self.drop(pooled.embedding)), pooled.weights)

    def forward_stages(self, x: Tensor) -> StageOutputs:
        """The encoder's stage maps, joined to maps of the volume (B, C_i, d, h, w), and the logits."""
        passes = self._passes(x)
        maps = [[outputs.stages for outputs in chunks] for chunks in passes]
        return StageOutputs(self._volume_maps(maps, len(x)), self._logits(passes, len(x)))

    def stage_gradients(self, x: Tensor, class_index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        passes = self._passes(x)
        score = self._logits(passes, len(x))[:, class_index].sum()
        # The logits come from the maps of the images, not from the maps of the volume that they are joined to.
        maps = [[outputs.stages for outputs in chunks] for chunks in passes]
        # The gradient of a stage that the logits do not depend on is zero.
        gradients = [
            [torch.autograd.grad(score, stages, retain_graph=True, materialize_grads=True) for stages in chunks]
            for chunks in maps
        ]
        return self._volume_maps(maps, len(x)), self._volume_maps(gradients, len(x))

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = classifier_layer(self.num_features, num_classes)

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """The encoder's groups, its head as `embedding` if it has weights; the pooling belongs to the head."""
        groups = self.encoder.layer_groups()
        embedding = groups.pop("head")
        if any(isinstance(part, nn.Parameter) or list(part.parameters()) for part in embedding):
            groups["embedding"] = embedding
        return {**groups, "head": [self.pooling, self.drop, self.head]}

    def extra_repr(self) -> str:
        return f"view={self.view}"

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.encoder.set_grad_checkpointing(enable)

    def _sequences(self, x: Tensor) -> list[Tensor]:
        check_input(x, 3, self.in_channels)
        return self.view.sequences(x)

    def _encode(self, images: Tensor) -> Tensor:
        """Images (B, N, C', H', W') -> embeddings (B, N, F), a chunk at a time."""
        chunks = self._chunks(images)
        embeddings = torch.cat([self._encode_chunk(chunk, alone=len(chunks) == 1) for chunk in chunks])
        if embeddings.dim() != 2:
            raise ValueError(
                f"a slice-wise network needs one embedding (M, F) per image, got {tuple(embeddings.shape)} from its "
                f"encoder; build the encoder with a pooling"
            )
        return split_batch(embeddings, len(images))

    def _encode_chunk(self, images: Tensor, alone: bool) -> Tensor:
        if alone or not torch.is_grad_enabled():
            return self.encoder(images)
        return recompute(self.encoder, self.encoder, images)

    def _passes(self, x: Tensor) -> list[list[StageOutputs]]:
        """The encoder on each chunk of each image sequence; its logits are embeddings (M, F)."""
        return [[self.encoder.forward_stages(chunk) for chunk in self._chunks(images)] for images in self._sequences(x)]

    def _logits(self, passes: list[list[StageOutputs]], batch_size: int) -> Tensor:
        embeddings = [split_batch(torch.cat([outputs.logits for outputs in chunks]), batch_size) for chunks in passes]
        return self.forward_head(torch.cat(embeddings, dim=1))

    def _volume_maps(self, passes: list[list[tuple[Tensor, ...]]], batch_size: int) -> tuple[Tensor, ...]:
        """Stage maps of images (M, C_i, h, w), by sequence and chunk -> maps of the volume (B, C_i, d, h, w)."""
        sequences = [
            [split_batch(torch.cat(chunks), batch_size) for chunks in zip(*chunked, strict=True)] for chunked in passes
        ]
        return tuple(self.view.volume_map(list(maps)) for maps in zip(*sequences, strict=True))

    def _chunks(self, images: Tensor) -> tuple[Tensor, ...]:
        images = rearrange(images, "b n ... -> (b n) ...")
        return (images,) if self.chunk_slices is None else images.split(self.chunk_slices)


def split_batch(images: Tensor, batch_size: int) -> Tensor:
    """What belongs to images, (B N, ...) -> by volume, (B, N, ...)."""
    return rearrange(images, "(b n) ... -> b n ...", b=batch_size)
