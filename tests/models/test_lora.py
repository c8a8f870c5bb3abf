"""LoRA: nothing changes at the start, little is trained, and the updates merge away."""

import pytest
import torch
from torch import nn

from pipeline.models.lora import adaptable_layers, merge_lora

VOLUME = torch.randn(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
FAMILIES = ["poolformer_s12", "resnet18", "vit_tiny"]


def build(build_tiny, name: str, lora: dict | None) -> nn.Module:
    return build_tiny(name, volume={"mode": "slicewise", "pooling": "attention"}, lora=lora)


def train_a_step(network: nn.Module) -> None:
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):  # one half of an update starts at zero, the other moves in the second step
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(VOLUME), torch.tensor([0, 1])).backward()
        optimizer.step()


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_outputs_are_unchanged_at_the_start(build_tiny, name):
    plain, adapted = build(build_tiny, name, None), build(build_tiny, name, {})
    adapted.head.load_state_dict(plain.head.state_dict())
    torch.testing.assert_close(adapted(VOLUME), plain(VOLUME), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_updates_pooling_and_head_learn_and_nothing_else(build_tiny, name):
    network = build(build_tiny, name, {"rank": 2})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_a_step(network.train())
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all("lora_" in name or name.startswith(("pooling.", "head.")) for name in changed)
    assert any("lora_" in name for name in changed)


@pytest.mark.parametrize("name", FAMILIES)
def test_merged_network_has_the_plain_layers_and_the_same_outputs(build_tiny, name):
    network = build(build_tiny, name, {"rank": 2, "alpha": 4.0})
    train_a_step(network)
    network.eval()
    with torch.no_grad():
        expected = network(VOLUME)
        merge_lora(network)
        torch.testing.assert_close(network(VOLUME), expected, atol=1e-4, rtol=1e-4)
    assert set(network.state_dict()) == set(build(build_tiny, name, None).state_dict())


def test_rank_and_targets_reach_the_layers(build_tiny):
    network = build(build_tiny, "vit_tiny", {"rank": 3, "targets": ["qkv$"]})
    updates = {name: p for name, p in network.named_parameters() if "lora_A" in name}
    assert all("attn.qkv" in name and parameter.shape[0] == 3 for name, parameter in updates.items())
    assert len(updates) == 4  # one for each block


def test_the_head_and_grouped_convolutions_take_no_update(build_tiny):
    network = build_tiny(volume="slicewise")
    network.encoder.grouped = nn.Conv2d(8, 8, 3, groups=8)
    names = adaptable_layers(network)
    assert not any(name.startswith("head") or name.endswith("grouped") for name in names)
    assert "encoder.stages.0.0.mlp.fc1" in names or any("mlp" in name for name in names)


def test_targets_that_match_nothing_are_rejected(build_tiny):
    with pytest.raises(ValueError, match=r"lora: targets \['qqq'\] match no layer.*it has"):
        build(build_tiny, "vit_tiny", {"targets": ["qqq"]})


def test_unknown_lora_options_are_rejected(build_tiny):
    with pytest.raises(ValueError, match="no option 'rnak'. Did you mean 'rank'"):
        build(build_tiny, "vit_tiny", {"rnak": 3})
