"""Training in several processes: ranks, reductions over them, and sharding of the network."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn

from pipeline.config import Training
from pipeline.models import Network

if TYPE_CHECKING:
    from lightning.pytorch.strategies import ModelParallelStrategy
    from torch.distributed.device_mesh import DeviceMesh


def is_rank_zero() -> bool:
    """Is this the process that writes files and logs? True for a single process; launchers set the rank."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    return not ranks or int(ranks[0]) == 0


def silence_other_ranks() -> None:
    """Let only the first process log progress; warnings and errors of the others stay."""
    if not is_rank_zero():
        logging.getLogger("pipeline").setLevel(logging.WARNING)


def num_processes(training: Training) -> int:
    """Processes on all machines."""
    return training.devices * training.nodes


def has_other_ranks() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def gather(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits and targets of all processes, on the CPU, in the order of the table.

    `parts` are one process's batches of (row in the table (B,), logits (B, K), targets). Every process gets the same
    tensors; a scan that was repeated to fill up a process's share counts once.
    """
    everywhere: list[Sequence[tuple[Tensor, Tensor, Tensor]]] = [parts]
    if has_other_ranks():
        everywhere = [()] * distributed.get_world_size()
        distributed.all_gather_object(everywhere, list(parts))
    rows, logits, targets = (torch.cat(column) for column in zip(*(p for own in everywhere for p in own), strict=True))
    position = {int(row): index for index, row in reversed(list(enumerate(rows)))}
    order = torch.tensor([position[row] for row in sorted(position)])
    return logits[order], targets[order]


def mean_over_processes(total: Tensor, count: Tensor) -> float:
    """`total / count`, both summed over all processes."""
    if has_other_ranks():
        both = torch.stack([total, count])
        on_device = both.cuda() if distributed.get_backend() == "nccl" else both
        distributed.all_reduce(on_device)
        total, count = on_device.cpu()
    return float(total / count)


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean, without gradient, of a number that each process has; a single process gets its own back."""
    if not has_other_ranks():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def sharding_strategy(training: Training) -> "ModelParallelStrategy":
    """Lightning's strategy for `shard`: each process has its own scans, a checkpoint is one file."""
    from lightning.pytorch.strategies import ModelParallelStrategy

    return ModelParallelStrategy(num_processes(training), tensor_parallel_size=1, save_distributed_checkpoint=False)


def shard(network: Network, mesh: "DeviceMesh") -> None:
    """Shard the network over the processes of `mesh`: block by block, then the remaining stem and head."""
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    for block in list(blocks_of(network)):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    register_fsdp_forward_method(network, "forward_stages")
    if mesh.device_type == "cpu":
        for module in network.modules():
            if isinstance(module, FSDPModule):
                # gloo can sum, but not average.
                module.set_force_sum_reduction_for_comms(True)


def blocks_of(network: Network) -> Iterator[nn.Module]:
    """Blocks with weights of the network, or of the one that it wraps; none if it does not run them one by one."""
    for module in network.modules():
        if isinstance(module, Network) and type(module).stage_blocks is not Network.stage_blocks:
            yield from (block for blocks in module.stage_blocks() for block in blocks if has_weights(block))


def has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def clip_gradients(parameters: list[nn.Parameter], max_norm: float) -> Tensor:
    """Clip by the norm over all parameters, sharded or not; every process must call it and gets the norm."""
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    # A DTensor where the gradients are sharded.
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
