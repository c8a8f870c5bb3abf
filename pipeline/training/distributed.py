"""Several processes: ranks, reductions, sharding."""

import logging
import os
from collections.abc import Iterator, Sequence

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from pipeline.config import Training
from pipeline.models import Network


def is_rank_zero() -> bool:
    """Is this the process that writes files and talks? True where it is alone; launchers set the rank."""
    ranks = [os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ]
    return not ranks or int(ranks[0]) == 0


def silence_other_ranks() -> None:
    """Silence the other processes' news; their warnings and errors stay."""
    if not is_rank_zero():
        logging.getLogger("pipeline").setLevel(logging.WARNING)


def num_processes(training: Training) -> int:
    """Processes over all machines."""
    return training.devices * training.nodes


def is_shared() -> bool:
    """Are there other processes?"""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def gather(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits and targets of all processes, on the CPU, in the order of the table.

    `parts` are one process's batches of (row in the table (B,), logits (B, K), targets). Whoever had which scan, every
    process gets the same tensors; a scan that filled up a process's share counts once.
    """
    everywhere: list[Sequence[tuple[Tensor, Tensor, Tensor]]] = [parts]
    if is_shared():
        everywhere = [()] * distributed.get_world_size()
        distributed.all_gather_object(everywhere, list(parts))
    rows, logits, targets = (torch.cat(column) for column in zip(*(p for own in everywhere for p in own), strict=True))
    order = {int(row): place for place, row in reversed(list(enumerate(rows)))}
    places = torch.tensor([order[row] for row in sorted(order)])
    return logits[places], targets[places]


def mean_over_processes(total: Tensor, count: Tensor) -> float:
    """`total / count`, both summed over all processes."""
    if is_shared():
        both = torch.stack([total, count])
        on_device = both.cuda() if distributed.get_backend() == "nccl" else both
        distributed.all_reduce(on_device)
        total, count = on_device.cpu()
    return float(total / count)


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean of a number, without gradient, that each process has; where there is one process, its own."""
    if not is_shared():
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def sharding_strategy(training: Training) -> ModelParallelStrategy:
    """Lightning's strategy for `shard`: each process has scans of its own, checkpoints are one whole file."""
    return ModelParallelStrategy(num_processes(training), tensor_parallel_size=1, save_distributed_checkpoint=False)


def shard(network: Network, mesh: DeviceMesh) -> None:
    """Divide the network between the processes of `mesh`: block by block, then what is left, stem and head."""
    for block in list(blocks_of(network)):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
    register_fsdp_forward_method(network, "forward_stages")
    if mesh.device_type == "cpu":
        for module in network.modules():
            if isinstance(module, FSDPModule):
                # gloo sums and has no mean.
                module.set_force_sum_reduction_for_comms(True)


def blocks_of(network: Network) -> Iterator[nn.Module]:
    """Blocks with weights of the network, or of the one that it wraps; none where it does not run them one by one."""
    for module in network.modules():
        if isinstance(module, Network) and type(module).stage_blocks is not Network.stage_blocks:
            yield from (block for blocks in module.stage_blocks() for block in blocks if has_weights(block))


def has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def clip_gradients(parameters: list[nn.Parameter], largest_norm: float) -> Tensor:
    """Clip by the norm over all parameters, wherever their parts lie; every process must call it and gets the norm."""
    norm = nn.utils.clip_grad_norm_(parameters, largest_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
