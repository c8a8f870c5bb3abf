"""What repeatable training steps cost, on a GPU if there is one, else on the CPU.

    python benchmarks/determinism.py

Forward and backward passes of three networks in float32: deterministic and with fixed kernels, as the trainer has them,
and in turn free to choose faster kernels, tried out beforehand. Each mode also makes one pass twice from the same
weights; whether the gradients agree to the bit is said beside its ratio. Prints a table and, as its last line, one JSON
object; half a minute on a GPU, a minute on two cores.
"""

import copy
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, in_turn, report  # noqa: E402
from pipeline.models import build_model  # noqa: E402

NETWORKS = ("poolformer_s12", "resnet18", "vit_small")
SIDE = 96
REPEATS = 7


@contextmanager
def mode(deterministic: bool) -> Iterator[None]:
    """As `pipeline.training.trainer` sets it, or as whoever wants speed alone does."""
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = False


def step(network: nn.Module, volumes: Tensor, labels: Tensor) -> None:
    """One forward and backward pass, waited for."""
    network.zero_grad()
    functional.cross_entropy(network(volumes), labels).backward()
    next(network.parameters()).grad.flatten()[0].item()


def cost_of(name: str, device: torch.device) -> tuple[dict[str, float], Ratio]:
    """Seconds of a step in either mode, and their ratio."""
    torch.manual_seed(0)
    network = build_model(name, spatial_dims=3, in_channels=1, num_classes=2).to(device).train()
    batch = 2 if device.type == "cpu" else 8
    volumes = torch.randn(batch, 1, SIDE, SIDE, SIDE, device=device)
    labels = torch.arange(batch, device=device) % 2

    def run(deterministic: bool) -> None:
        with mode(deterministic):
            step(network, volumes, labels)

    seconds = in_turn(REPEATS, deterministic=lambda: run(True), free=lambda: run(False))
    start = copy.deepcopy(network.state_dict())
    words = []
    for deterministic in (True, False):
        pair = []
        for _ in range(2):
            network.load_state_dict(start)
            torch.manual_seed(1)
            run(deterministic)
            pair.append(torch.cat([weight.grad.flatten() for weight in network.parameters()]))
        words.append("equal" if torch.equal(*pair) else "different")
    said = f"gradients twice: deterministic {words[0]}, free {words[1]}"
    told = {f"{name}, {mode_name}": value for mode_name, value in seconds.items()}
    return told, Ratio(f"cost_{name}", seconds["deterministic"] / seconds["free"] - 1, reason=said)


def main() -> None:
    # Before the first use of the GPU: cuBLAS is deterministic only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    warnings.simplefilter("ignore")
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = accelerator or torch.device("cpu")
    print(f"on {torch.cuda.get_device_name() if device.type == 'cuda' else device.type}")
    seconds, ratios = {}, []
    for name in NETWORKS:
        told, ratio = cost_of(name, device)
        seconds |= told
        ratios.append(ratio)
    report("determinism", seconds, ratios)


if __name__ == "__main__":
    main()
