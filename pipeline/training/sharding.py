"""Weights, gradients and optimiser state divided between processes (FSDP2), for networks that do not fit one device.

Parameters keep their shapes and names, so that decay, layer-wise rates and checkpoints are those of any training.
"""

from collections.abc import Iterator

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from pipeline.config import Training
from pipeline.models import Network
from pipeline.training.processes import num_processes


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
