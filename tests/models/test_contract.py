"""What every registered network answers to, in 2D and in 3D, alone and on volumes.

Structure is checked for every name, on meta tensors that hold no numbers; numbers for the smallest of each family,
in depth and width cut down where the fixture knows how.
A new model is found by itself.
"""

from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor

from pipeline.models import Network, build_model, model_names
from pipeline.models.build import learns
from pipeline.models.registry import MODELS
from pipeline.models.volume import supports_3d, volume_modes

NAMES = [name for name in model_names() if learns(name)]
"""Networks whose features are fixed have tests of their own."""
SIZES = {2: (64, 64), 3: (32, 32, 32)}
ODD_SIZES = {2: [(33, 47), (32, 32)], 3: [(17, 33, 47), (32, 32, 32), (40, 8, 33)]}


def dimensions(name: str) -> tuple[int, ...]:
    return (2, 3) if supports_3d(name) else (2,)


def options_for(name: str, form: int | str) -> dict[str, object]:
    """Options of `build_model` for a form: 2 or 3 for the bare network, else a volume mode."""
    if isinstance(form, str):
        return {"volume": form}
    return {"spatial_dims": form} if supports_3d(name) else {}


def family(name: str) -> object:
    """The class or function behind a name, whatever its size."""
    return getattr(MODELS.get(name), "func", MODELS.get(name))


@cache
def on_meta(name: str, form: int | str) -> Network:
    with torch.device("meta"):
        return build_model(name, in_channels=5, num_classes=7, **options_for(name, form)).eval()


def smallest_of_each_family() -> list[str]:
    smallest: dict[object, str] = {}
    for name in sorted(NAMES, key=lambda name: sum(p.numel() for p in on_meta(name, 2).parameters())):
        smallest.setdefault(family(name), name)
    return sorted(smallest.values())


BARE = [(name, form) for name in NAMES for form in dimensions(name)]
NUMERICAL = [(name, form) for name in smallest_of_each_family() for form in dimensions(name)]
LARGEST_FORM = [(name, dimensions(name)[-1]) for name in smallest_of_each_family()]
WRAPPED = [(name, mode) for name in smallest_of_each_family() for mode in volume_modes(name)]
LEARNING = [(name, form) for name, form in NUMERICAL + WRAPPED if form != "stage_grid"]
"""A stage grid leaves out what comes after its stage."""
SLICEWISE = [(name, "slicewise") for name in smallest_of_each_family()]


@pytest.fixture
def network(build_tiny, name: str, form: int | str) -> Network:
    return build_tiny(name, num_classes=3, **options_for(name, form))


def example(form: int | str, batch: int = 2, size: tuple[int, ...] | None = None) -> Tensor:
    size = size or (SIZES[form] if isinstance(form, int) else (5, 20, 24))
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(0))


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


# Structure, for every name


@pytest.mark.parametrize(("name", "form"), BARE)
def test_groups_hold_each_parameter_once_from_stem_to_head(name, form):
    network = on_meta(name, form)
    groups = network.parameter_groups()
    grouped = [id(parameter) for parameters in groups.values() for parameter in parameters]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())
    assert list(groups)[0] == "stem" and list(groups)[-1] == "head"
    assert network.get_submodule(network.classifier).weight is groups["head"][-2]


@pytest.mark.parametrize(("name", "form"), BARE)
def test_four_stages_never_grow_and_logits_follow(name, form):
    size = (96, 96, 96) if form == 3 else (224, 224)
    stages, logits = on_meta(name, form).forward_stages(torch.empty(1, 5, *size, device="meta"))
    assert logits.shape == (1, 7)
    assert len(stages) == 4
    for finer, coarser in zip(stages, stages[1:], strict=False):
        assert finer.dim() == coarser.dim() == form + 2
        assert all(ours >= theirs for ours, theirs in zip(finer.shape[2:], coarser.shape[2:], strict=True))


# Numbers, for one of each family


@pytest.mark.parametrize(("name", "form"), NUMERICAL + WRAPPED)
@torch.no_grad()
def test_a_batch_is_its_samples(network, form):
    x = example(form)
    assert_close(network(x), torch.cat([network(x[:1]), network(x[1:])]))


@pytest.mark.parametrize(("name", "form"), NUMERICAL + WRAPPED)
@torch.no_grad()
def test_every_way_through_gives_the_same_logits(network, form):
    x = example(form)
    logits = network(x)
    assert_close(network.forward_head(network.forward_features(x)), logits)
    assert_close(network.forward_stages(x).logits, logits)
    embedding = network.forward_head(network.forward_features(x), pre_logits=True)
    assert embedding.shape == (2, network.num_features)


@pytest.mark.parametrize(("name", "form"), LEARNING)
def test_every_parameter_learns(network, form):
    network(example(form)).square().sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("name", "form"), NUMERICAL)
def test_odd_and_tiny_sizes(network, form):
    for size in ODD_SIZES[form]:
        logits = network(example(form, batch=1, size=size))
        logits.sum().backward()
        assert logits.shape == (1, 3) and logits.isfinite().all(), size


@pytest.mark.parametrize(("name", "form"), NUMERICAL)
@torch.no_grad()
def test_bfloat16_autocast_is_near_float32(network, form):
    x = example(form, batch=1)
    logits = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(x)
    assert (half.float() - logits).abs().max() < 0.1 * logits.abs().max() + 0.02


@pytest.mark.parametrize(("name", "form"), NUMERICAL + SLICEWISE)
@torch.no_grad()
def test_exported_network_gives_the_same_logits(network, form):
    x = example(form, batch=1)
    assert_close(torch.export.export(network, (x,)).module()(x), network(x))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), [*LARGEST_FORM, ("resnet18", "slicewise")])
@torch.no_grad()
def test_compiles_as_one_graph(network, form):
    torch.compiler.reset()  # what was compiled for another network counts as a recompilation of this one
    x = example(form)
    assert_close(torch.compile(network, backend="eager", fullgraph=True)(x), network(x))


@pytest.mark.parametrize(("name", "form"), NUMERICAL + SLICEWISE)
def test_reset_classifier_changes_the_classes_and_nothing_else(network, form):
    x = example(form)
    before = {key: value for key, value in network.state_dict().items() if not key.startswith(f"{network.classifier}.")}
    with torch.no_grad():
        embedding = network.forward_head(network.forward_features(x), pre_logits=True)
        network.reset_classifier(0)
        assert_close(network(x), embedding)
        network.reset_classifier(7)
        assert network(x).shape == (2, 7) and network.num_classes == 7
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize(("name", "form"), NUMERICAL + SLICEWISE)
def test_lock_leaves_the_last_groups_free(network):
    groups = network.parameter_groups()
    for unlocked in (0, 1, 3, len(groups)):
        network.lock(unlocked)
        free = {name for name, part in groups.items() if part and all(p.requires_grad for p in part)}
        locked = {name for name, part in groups.items() if part and not any(p.requires_grad for p in part)}
        last = list(groups)[len(groups) - unlocked :]
        assert free == {name for name in last if groups[name]}
        assert locked == {name for name in groups if name not in last and groups[name]}
    with pytest.raises(ValueError, match="unlocked_groups must be 0 to"):
        network.lock(len(groups) + 1)


@pytest.mark.parametrize(("name", "form"), NUMERICAL)
def test_frozen_statistics_stay_through_training(network, form):
    network.lock(freeze_bn_stats=True)
    before = deepcopy(dict(network.named_buffers()))
    network.train()(example(form))
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


@pytest.mark.parametrize(("name", "form"), NUMERICAL)
def test_a_frozen_network_gives_constants_to_its_head(network, form):
    x = example(form)
    expected = network.forward_features(x)
    network.freeze()
    assert_close(network.train().forward_features(x), expected)


@pytest.mark.parametrize(("name", "form"), NUMERICAL + SLICEWISE)
def test_checkpointing_gives_the_same_gradients(network, form):
    plain, x = deepcopy(network), example(form)
    network.set_grad_checkpointing()
    for each in (plain, network):
        torch.manual_seed(0)
        each.train()(x).square().sum().backward()
    for (name, ours), theirs in zip(network.named_parameters(), plain.parameters(), strict=True):
        assert_close(ours.grad, theirs.grad, tolerance=1e-3), name


@pytest.mark.parametrize(("name", "form"), NUMERICAL)
def test_the_same_seed_gives_the_same_weights(network, build_tiny, name, form):
    again = build_tiny(name, num_classes=3, **options_for(name, form))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("name", "form"), NUMERICAL)
def test_an_input_without_its_batch_axis_is_rejected(network, form):
    with pytest.raises(ValueError, match=r"\(B, C, .*got shape"):
        network(example(form)[0])


@pytest.mark.parametrize("name", smallest_of_each_family())
def test_unknown_options_are_rejected(name):
    with pytest.raises(ValueError, match="no option 'in_chanels'. Did you mean 'in_channels'"):
        build_model(name, in_chanels=3)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="unknown model 'resnet81'. Did you mean 'resnet18'"):
        build_model("resnet81")
