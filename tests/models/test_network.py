"""What every network shares: locking, groups by depth, gradient checkpointing."""

import pytest
import torch
from torch import nn

from pipeline.models import Network, build_model
from pipeline.models.network import frozen_statistics, recompute

VOLUME = torch.randn(2, 1, 36, 40, 33, generator=torch.Generator().manual_seed(0))
TINY = {
    "poolformer_s12": dict(depths=(2, 1, 1, 1), dims=(8, 8, 16, 16), norm="batch", layer_scale_init_value=0.5),
    "resnet18": dict(depths=(2, 1, 1, 1), dims=(8, 8, 16, 16)),
}


@pytest.fixture(params=TINY)
def network(request) -> Network:
    return build_model(request.param, **TINY[request.param])


def trainable(network: Network) -> list[str]:
    return [name for name, group in network.parameter_groups().items() if all(p.requires_grad for p in group)]


def test_groups_hold_every_parameter_once_from_the_input_to_the_head(network):
    grouped = [parameter for group in network.parameter_groups().values() for parameter in group]
    assert len(grouped) == len(set(grouped)) == len(list(network.parameters()))
    assert set(grouped) == set(network.parameters())
    assert list(network.parameter_groups())[0] == "stem" and list(network.parameter_groups())[-1] == "head"


@pytest.mark.parametrize("unlocked_groups", [0, 1, 3, 6])
def test_lock_leaves_the_last_groups_to_train(network, unlocked_groups):
    names = list(network.parameter_groups())
    network.lock(unlocked_groups)
    assert trainable(network) == names[len(names) - unlocked_groups :]
    assert sum(p.requires_grad for p in network.parameters()) == sum(
        len(network.parameter_groups()[name]) for name in trainable(network)
    )


def test_lock_of_more_groups_than_there_are_is_rejected(network):
    with pytest.raises(ValueError, match=r"unlocked_groups must be 0 to 6 \(stem, .* head\), got 7"):
        network.lock(7)


def running_means(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.named_buffers() if name.endswith("running_mean")}


def moved_by_training(network: Network) -> set[str]:
    """Names of the batch norms whose statistics a training step moves."""
    before = running_means(network)
    network.train()(VOLUME)
    return {name for name, value in running_means(network).items() if not torch.equal(value, before[name])}


def test_locked_batch_norms_keep_their_statistics_if_asked(network):
    network.lock(unlocked_groups=2, freeze_bn_stats=True)
    moved = moved_by_training(network)
    assert moved and all(name.startswith(("stages.3.", "layer4.", "norm.")) for name in moved)


def test_locked_batch_norms_go_on_counting_if_not_asked(network):
    network.lock(unlocked_groups=2)
    assert moved_by_training(network) == set(running_means(network))


def test_second_lock_replaces_the_first(network):
    network.lock(freeze_bn_stats=True)
    network.lock(unlocked_groups=6)
    assert all(p.requires_grad for p in network.parameters())
    assert moved_by_training(network) == set(running_means(network))


def backward_in_training(network: Network) -> tuple[list[torch.Tensor], int]:
    """Gradients of a step, and the bytes of activations that it kept for them."""
    torch.manual_seed(0)
    own = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network.train()(VOLUME)
    logits.square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()], sum(kept.values())


@pytest.mark.parametrize("name", TINY)
def test_checkpointing_keeps_less_than_half_for_the_same_gradients(name):
    network = build_model(name, **TINY[name] | dict(depths=(4, 1, 1, 1)))
    expected, kept = backward_in_training(network)
    network.zero_grad()
    network.set_grad_checkpointing()
    found, kept_when_recomputing = backward_in_training(network)
    assert kept_when_recomputing < kept / 2
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def make_block() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(5, 2, 3))


def test_gradients_and_statistics_equal_those_of_a_plain_pass():
    plain, recomputed = make_block(), make_block()
    torch.manual_seed(1)
    plain(IMAGES).square().sum().backward()
    torch.manual_seed(1)
    recompute(recomputed, recomputed, IMAGES).square().sum().backward()
    for ours, theirs in zip(recomputed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(recomputed.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_held_statistics_move_again_afterwards():
    block = make_block()
    before = [buffer.clone() for buffer in block.buffers()]
    with frozen_statistics(block):
        block(IMAGES)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(block.buffers(), before, strict=True))
    block(IMAGES)
    assert block[1].num_batches_tracked == 1
    assert not torch.equal(block[1].running_mean, before[0])
