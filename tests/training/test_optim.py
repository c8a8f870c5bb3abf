import math

import pytest
import torch
from torch import nn

from pipeline.models import build_model
from pipeline.training.optim import build_optimizer, cosine_with_warmup


def rates(num_updates: int, warmup_fraction: float) -> list[float]:
    """The rate of every update, for a peak of 1."""
    optimizer = build_optimizer(nn.Linear(1, 1), "sgd", learning_rate=1.0, weight_decay=0.0)
    schedule = cosine_with_warmup(optimizer, num_updates=num_updates, warmup_fraction=warmup_fraction)
    seen = []
    for _ in range(num_updates):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*seen, optimizer.param_groups[0]["lr"]]


def test_the_rate_rises_linearly_peaks_and_ends_at_one_percent() -> None:
    seen = rates(num_updates=100, warmup_fraction=0.1)
    assert seen[:10] == pytest.approx([(update + 1) / 11 for update in range(10)])
    assert seen[10] == 1.0
    assert seen[55] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert seen[100] == pytest.approx(0.01)
    assert all(later < earlier for earlier, later in zip(seen[10:], seen[11:], strict=False))


def test_without_warmup_the_first_update_has_the_peak_rate() -> None:
    assert rates(num_updates=4, warmup_fraction=0.0)[0] == 1.0


# AdamW: 1 - 0.1 * 0.5; Nesterov takes 1.9 times the gradient on its first update: 1 - 0.1 * 1.9 * 0.5.
@pytest.mark.parametrize(("name", "decayed"), [("adamw", 0.95), ("sgd", 0.905)])
def test_norms_and_biases_are_not_decayed(name: str, decayed: float) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    optimizer = build_optimizer(network, name, learning_rate=0.1, weight_decay=0.5)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(network[0].weight, torch.tensor(decayed))
    for vector in (network[0].bias, network[1].weight, network[1].bias):
        assert torch.equal(vector, torch.ones_like(vector))


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Linear(3, 3)
    network.weight.requires_grad_(False)
    optimizer = build_optimizer(network, "adamw", learning_rate=0.1, weight_decay=0.5)
    assert [group["params"] for group in optimizer.param_groups] == [[network.bias]]


def test_rates_fall_from_the_head_to_the_stem_and_extra_heads_learn_at_full_rate() -> None:
    network, further = build_model("resnet18", spatial_dims=2), nn.Parameter(torch.zeros(2, 2))
    optimizer = build_optimizer(
        network, "adamw", learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, further=[further]
    )
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    parts = [network.fc, network.layer4, network.layer3, network.layer2, network.layer1, network.bn1]
    for distance, part in enumerate(parts):
        assert {rate_of[id(parameter)] for parameter in part.parameters()} == {0.5**distance}
    assert rate_of[id(further)] == 1.0
    assert len(rate_of) == len(list(network.parameters())) + 1
