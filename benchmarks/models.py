"""Speed and memory of the networks against torch's stock layers, on two CPU cores and, if there is one, a GPU.

    python benchmarks/models.py

Prints a table and, as its last line, one JSON object. Compared things are timed in turn in this process, medians over
repeats; about two minutes on an idle machine.
"""

import copy
import json
import operator
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from sys import path

import torch
from torch import Tensor, nn
from torch.nn import functional

path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.peak_memory import training_peak  # noqa: E402
from pipeline.models import build_model  # noqa: E402
from pipeline.models.pool_mixer import PoolMixer  # noqa: E402
from pipeline.models.poolformer import LayerScaleResidual, TokenMlp  # noqa: E402

THREADS, REPEATS = 2, 7
MIXER_SHAPE = (2, 64, 24, 24, 24)
STEP_SHAPE = (2, 1, 96, 96, 96)
DEPTHS, CHUNK_SLICES = (32, 64), 8

# name: (bar, how the value must stand to it)
BARS = {
    "mixer_speedup": (5.0, operator.ge),
    "mixer_error": (1e-6, operator.lt),
    "training_step_speedup": (1.3, operator.ge),
    "checkpointing_memory_saving": (2.0, operator.ge),
    "chunked_memory_at_twice_the_depth": (1.1, operator.le),
    "gpu_bf16_compiled_speedup": (3.0, operator.ge),
    "gpu_bf16_compiled_error": (0.05, operator.lt),
}


class StockMixer(nn.Module):
    """The authors' mixer with torch's own pooling, which refuses axes shorter than its kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool3d(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.pool(x) if min(x.shape[2:]) >= 3 else self.pool_padded(x)) - x

    @staticmethod
    def pool_padded(x: Tensor) -> Tensor:
        """The same means, of sums with zeros around and the number of voxels in each."""
        sums, counts = (functional.avg_pool3d(functional.pad(part, (1,) * 6), 3, 1) for part in (x, torch.ones_like(x)))
        return sums / counts


class StockMlp(nn.Module):
    """The authors' channel mixing with 1x1x1 convolutions, holding the weights of `mlp`."""

    def __init__(self, mlp: TokenMlp) -> None:
        super().__init__()
        self.fc1, self.fc2 = as_convolution(mlp.fc1), as_convolution(mlp.fc2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class StockResidual(nn.Module):
    """The authors' order: scale the branch, drop it, add it; holding the weights of `residual`."""

    def __init__(self, residual: LayerScaleResidual) -> None:
        super().__init__()
        self.scale, self.drop_path = residual.scale, residual.drop_path

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + self.drop_path(self.scale[:, None, None, None] * branch)


def as_convolution(linear: nn.Linear) -> nn.Conv3d:
    """A 1x1x1 convolution that does to each token what `linear` does."""
    convolution = nn.Conv3d(linear.in_features, linear.out_features, 1)
    weight = linear.weight.detach()[..., None, None, None]
    convolution.load_state_dict({"weight": weight, "bias": linear.bias.detach()})
    return convolution


def stock_convolution(ours: nn.Conv3d) -> nn.Conv3d:
    """torch's own convolution with the weights of `ours`."""
    shape = ours.in_channels, ours.out_channels, ours.kernel_size, ours.stride, ours.padding
    stock = nn.Conv3d(*shape, bias=ours.bias is not None)
    stock.load_state_dict(ours.state_dict())
    return stock


def with_stock_layers(network: nn.Module) -> nn.Module:
    """The same PoolFormer, weights included, from stock pooling, convolutions and sums, in the usual memory layout."""
    stock = copy.deepcopy(network)
    stock.forward_stem = lambda x: stock.stem(x)
    for parent in list(stock.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, PoolMixer):
                setattr(parent, name, StockMixer())
            elif isinstance(child, TokenMlp):
                setattr(parent, name, StockMlp(child))
            elif isinstance(child, LayerScaleResidual):
                setattr(parent, name, StockResidual(child))
            elif isinstance(child, nn.Conv3d):
                setattr(parent, name, stock_convolution(child))
    return stock


def seconds_in_turn(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each work, run one after the other `REPEATS` times, after one round to warm up."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(REPEATS + 1):
        for taken, work in zip(times, works, strict=True):
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken[1:]) for taken in times]


def there_and_back(module: nn.Module, x: Tensor) -> Callable[[], None]:
    """A forward and a backward pass."""

    def run() -> None:
        x.grad = None
        module(x).sum().backward()

    return run


def training_step(network: nn.Module, volumes: Tensor, labels: Tensor) -> Callable[[], None]:
    """Loss and gradients of one batch; optimizers cost the same for both."""

    def run() -> None:
        network.zero_grad(set_to_none=True)
        functional.cross_entropy(network(volumes).float(), labels).backward()

    return run


def compare_mixers() -> dict[str, float]:
    x = torch.randn(MIXER_SHAPE, requires_grad=True)
    stock, ours = StockMixer(), PoolMixer(3)
    stock_seconds, our_seconds = seconds_in_turn(there_and_back(stock, x), there_and_back(ours, x))
    print(f"mixer, both ways at {MIXER_SHAPE}: stock {stock_seconds * 1e3:.1f} ms, ours {our_seconds * 1e3:.1f} ms")
    error = (stock(x) - ours(x)).abs().max().item()
    return {"mixer_speedup": stock_seconds / our_seconds, "mixer_error": error}


def compare_training_steps() -> dict[str, float]:
    ours = build_model("poolformer_s12")
    stock = with_stock_layers(ours)
    batch = torch.randn(STEP_SHAPE), torch.arange(STEP_SHAPE[0]) % 2
    stock_seconds, our_seconds = seconds_in_turn(training_step(stock, *batch), training_step(ours, *batch))
    print(f"3D s12 training step at {STEP_SHAPE}: stock {stock_seconds * 1e3:.0f} ms, ours {our_seconds * 1e3:.0f} ms")
    return {"training_step_speedup": stock_seconds / our_seconds}


def compare_checkpointing() -> dict[str, float]:
    network, volumes = build_model("poolformer_s12"), torch.randn(STEP_SHAPE)
    kept = training_peak(network, volumes)
    network.set_grad_checkpointing()
    recomputed = training_peak(network, volumes)
    print(f"3D s12 peak activations: {kept / 2**20:.0f} MiB, checkpointed {recomputed / 2**20:.0f} MiB")
    return {"checkpointing_memory_saving": kept / recomputed}


def compare_depths() -> dict[str, float]:
    network = build_model("resnet18", volume={"mode": "slicewise", "chunk_slices": CHUNK_SLICES})
    peaks = [training_peak(network, torch.randn(1, 1, depth, 64, 64)) for depth in DEPTHS]
    shown = ", ".join(f"{peak / 2**20:.1f} MiB at {depth} slices" for peak, depth in zip(peaks, DEPTHS, strict=True))
    print(f"slice-wise ResNet-18 in chunks of {CHUNK_SLICES}, peak activations: {shown}")
    return {"chunked_memory_at_twice_the_depth": peaks[1] / peaks[0]}


def compare_on_gpu() -> dict[str, float]:
    """bfloat16 and compiled against float32, eager and stock; the error is in standard deviations of the features."""
    # No drop path: it would draw anew in each pass.
    ours = build_model("poolformer_s12", num_classes=0, drop_path_rate=0.0).cuda()
    stock = with_stock_layers(ours)
    in_half = torch.autocast("cuda", torch.bfloat16)
    compiled = torch.compile(in_half(ours.forward))
    volumes, labels = torch.randn(8, *STEP_SHAPE[1:], device="cuda"), torch.arange(8, device="cuda") % 2
    with torch.no_grad():
        expected = stock(volumes)
        error = ((compiled(volumes) - expected).abs().max() / expected.std()).item()

    def compiled_step() -> None:
        ours.zero_grad(set_to_none=True)
        functional.cross_entropy(compiled(volumes).float(), labels).backward()

    stock_seconds, our_seconds = seconds_in_turn(training_step(stock, volumes, labels), compiled_step)
    print(f"GPU, 3D s12 training step of 8: stock {stock_seconds * 1e3:.1f} ms, ours {our_seconds * 1e3:.1f} ms")
    return {"gpu_bf16_compiled_speedup": stock_seconds / our_seconds, "gpu_bf16_compiled_error": error}


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    values = {**compare_mixers(), **compare_training_steps(), **compare_checkpointing(), **compare_depths()}
    if torch.cuda.is_available():
        values.update(compare_on_gpu())
    ratios = {}
    for name, value in values.items():
        bar, stands = BARS[name]
        ratios[name] = {"value": float(f"{value:.3g}"), "bar": bar, "holds": bool(stands(value, bar))}
    print(json.dumps({"benchmark": "models", "ratios": ratios, "machine": platform.processor() or platform.machine()}))


if __name__ == "__main__":
    main()
