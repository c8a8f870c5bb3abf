"""The interface of every network, in 2D and 3D.

Axes: B batch, C channels, S spatial (H, W) or (D, H, W), K classes, F features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
Output = TypeVar("Output")


class StageOutputs(NamedTuple):
    """Stage maps and logits of one forward pass."""

    stages: tuple[Tensor, ...]
    """Four maps (B, C_i, *S_i), finest first, without the stem's."""
    logits: Tensor
    """(B, K)"""


class Network(nn.Module):
    """A stem, four stages and a head, in timm's words.

    A subclass sets `num_features`, `num_classes` and fills `forward_stem`, `stage_blocks`,
    `forward_head`, `reset_classifier` and `layer_groups`; this class implements the rest with them.
    """

    num_features: int
    num_classes: int
    first_conv: str = "stem"
    """Name of the convolution that reads the input; pretrained weights adapt it to `in_channels`."""
    classifier: str = "head"
    """Name of the last linear layer; pretrained weights keep it only for the same number of classes."""

    def __init__(self) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self._kept_in_eval: list[nn.Module] = []

    def forward_stem(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> the input of the first stage."""
        raise NotImplementedError

    def stage_blocks(self) -> tuple[Iterable[nn.Module], ...]:
        """The blocks of each of the four stages, in the order in which they run."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Last feature map -> logits (B, K), or the pooled embedding (B, F) with `pre_logits`."""
        raise NotImplementedError

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last layer with a new one; 0 gives the embedding (B, F)."""
        raise NotImplementedError

    def layer_groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """Parts by depth from the input on, `stem` first and `head` last; each parameter is in exactly one group."""
        raise NotImplementedError

    def translate_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published names and shapes -> this network's own; by default they are the same.

        Loading handles differences of `first_conv` and `classifier`, and 2D kernels in 3D.
        """
        return dict(weights)

    def stage_output(self, index: int, x: Tensor) -> Tensor:
        """The map (B, C, *S) that `forward_stages` returns for stage `index`."""
        return x

    def run_stem(self, x: Tensor) -> Tensor:
        """`forward_stem`; with checkpointing only its input is kept, because its maps are the largest."""
        if self.grad_checkpointing and self.training:
            return recompute(self, self.forward_stem, x)
        return self.forward_stem(x)

    def run_stage(self, blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        """Run the blocks one by one; with checkpointing only their inputs are kept."""
        for block in blocks:
            if self.grad_checkpointing and self.training:
                x = recompute(block, block, x)
            else:
                x = block(x)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> the input of the head."""
        x = self.run_stem(x)
        for blocks in self.stage_blocks():
            x = self.run_stage(blocks, x)
        return x

    def forward_stages(self, x: Tensor) -> StageOutputs:
        """The four stage maps and the logits of one pass."""
        x = self.run_stem(x)
        maps = []
        for index, blocks in enumerate(self.stage_blocks()):
            x = self.run_stage(blocks, x)
            maps.append(self.stage_output(index, x))
        return StageOutputs(tuple(maps), self.forward_head(x))

    def stage_gradients(self, x: Tensor, class_index: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The four stage maps, and the gradient of a class's logit with respect to each."""
        stages, logits = self.forward_stages(x)
        gradients = torch.autograd.grad(logits[:, class_index].sum(), stages, allow_unused=True)
        if any(gradient is None for gradient in gradients):
            raise ValueError(
                f"{type(self).__name__} computes its stage maps apart from its logits, so they have no gradient; "
                "explain it with explanation.method=occlusion."
            )
        return stages, gradients

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the stem and each block in the backward pass: less memory, more time."""
        self.grad_checkpointing = enable

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by depth, `stem` first and `head` last, for layer-wise learning rates and locking."""
        groups = {}
        for name, parts in self.layer_groups().items():
            own = [[part] if isinstance(part, nn.Parameter) else part.parameters() for part in parts]
            groups[name] = [parameter for parameters in own for parameter in parameters]
        return groups

    def lock(self, unlocked_groups: int = 0, freeze_bn_stats: bool = False) -> None:
        """Freeze all but the last `unlocked_groups` groups; optionally their batch-norm statistics too."""
        groups, self._kept_in_eval = self.layer_groups(), []
        if not 0 <= unlocked_groups <= len(groups):
            raise ValueError(f"unlocked_groups must be 0 to {len(groups)} ({', '.join(groups)}), got {unlocked_groups}")
        names = list(groups)
        for index, name in enumerate(names):
            trainable = index >= len(names) - unlocked_groups
            for parameter in self.parameter_groups()[name]:
                parameter.requires_grad_(trainable)
        if freeze_bn_stats:
            norms = [module for module in self.modules() if isinstance(module, BATCH_NORMS)]
            self._kept_in_eval = [norm for norm in norms if not any(p.requires_grad for p in norm.parameters())]
        self.train(self.training)

    def freeze(self) -> None:
        """Lock all but the head, and keep it in eval mode with its dropout, so that the head's input is constant."""
        self.lock(unlocked_groups=1)
        head = {m for part in self.layer_groups()["head"] if isinstance(part, nn.Module) for m in part.modules()}
        self._kept_in_eval = [module for module in self.modules() if module is not self and module not in head]
        self.train(self.training)

    def train(self, mode: bool = True) -> "Network":
        """As in torch, but locked batch norms and all frozen modules stay in eval mode."""
        super().train(mode)
        for module in self._kept_in_eval:
            module.training = False
        return self


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norms unchanged, because the batch was counted before."""
    norms = [norm for norm in module.modules() if isinstance(norm, BATCH_NORMS) and norm.track_running_stats]
    saved = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in saved:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


def recompute(module: nn.Module, forward: Callable[[Tensor], Output], x: Tensor) -> Output:
    """`forward(x)` that keeps only `x` and runs again in the backward pass; `module`'s batch statistics count once."""
    if torch.compiler.is_compiling():  # the compiler recomputes from its own graph, and accepts no context
        return checkpoint(forward, x, use_reentrant=False)
    return checkpoint(forward, x, use_reentrant=False, context_fn=lambda: (nullcontext(), frozen_statistics(module)))
