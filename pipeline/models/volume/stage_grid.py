"""Stage grid: a 2D network's maps of all slices at one stage, pooled over a coarse grid of the volume.

A slice-wise network loses where in the volume a finding was; here each cell of the grid keeps its own features.
An early stage suits small images, which the last stage reduces to a token or two.

Axes: B batch, C channels, D H W depth height width, N images of one volume, F features of a stage, G cells per axis.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from pipeline.core.registry import Registry
from pipeline.models.network import Network, StageOutputs
from pipeline.models.registry import Choice, choose
from pipeline.models.volume.slice_pooling import MeanPooling
from pipeline.models.volume.slicewise import Slicewise, split_batch
from pipeline.models.volume.views import Slices

NUM_STAGES = 4
CELL_POOLINGS: Registry[Callable[..., nn.Module]] = Registry("cell pooling")


@CELL_POOLINGS.register("mean")
def mean_of_cells(grid: int, /) -> nn.Module:
    return nn.AdaptiveAvgPool3d(grid)


@CELL_POOLINGS.register("max")
def max_of_cells(grid: int, /) -> nn.Module:
    """A small finding that a cell's mean dilutes can still be the cell's largest value."""
    return nn.AdaptiveMaxPool3d(grid)


class StageGrid(Slicewise):
    """A linear head on the means or maxima of G x G x G cells of a stage's map. Shape: (B, C, D, H, W) -> (B, K).

    `stage` counts from 0, the finest. Every `step`-th slice along `axis` is encoded: 0 for D, 1 for H, 2 for W.
    """

    def __init__(
        self,
        encoder: Network,
        *,
        in_channels: int,
        num_classes: int,
        stage: int,
        grid: int,
        pooling: Choice = "mean",
        step: int = 1,
        axis: int = 0,
        chunk_slices: int | None = None,
        drop_rate: float = 0.0,
    ) -> None:
        if not 0 <= stage < NUM_STAGES:
            raise ValueError(f"volume option 'stage' must be 0 (finest) to {NUM_STAGES - 1}, got {stage}")
        if grid < 1:
            raise ValueError(f"volume option 'grid' must be 1 or more, got {grid}")
        build_cells, _ = choose(CELL_POOLINGS, pooling)
        super().__init__(
            encoder,
            Slices(step, axis),
            MeanPooling(encoder.num_features),
            in_channels=in_channels,
            num_classes=0,
            chunk_slices=chunk_slices,
            drop_rate=drop_rate,
        )
        self.stage, self.cells = stage, build_cells(grid)
        self.num_features = self._width_of_stage() * grid**3
        self.reset_classifier(num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Volume (B, C, D, H, W) -> cells (B, F, G, G, G)."""
        (images,) = self._sequences(x)
        maps = [self.encoder.forward_stages(chunk).stages[self.stage] for chunk in self._chunks(images)]
        return self._cells(split_batch(torch.cat(maps), len(x)))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Cells (B, F, G, G, G) -> logits (B, K), or with `pre_logits` all cells' features (B, F G^3)."""
        embedding = rearrange(features, "b f ... -> b (f ...)")
        return embedding if pre_logits else self.head(self.drop(embedding))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, stage={self.stage}"

    def _cells(self, maps: Tensor) -> Tensor:
        """Maps of the images (B, N, F, h, w) -> cells (B, F, G, G, G)."""
        return self.cells(self.view.volume_map([maps]))

    def _logits(self, passes: list[list[StageOutputs]], batch_size: int) -> Tensor:
        (chunks,) = passes
        maps = torch.cat([outputs.stages[self.stage] for outputs in chunks])
        return self.forward_head(self._cells(split_batch(maps, batch_size)))

    @torch.no_grad()
    def _width_of_stage(self) -> int:
        """F, from one pass of a zero image."""
        image = torch.zeros(1, self.in_channels, 64, 64, device=next(self.encoder.parameters()).device)
        return self.encoder.eval().forward_stages(image).stages[self.stage].shape[1]
