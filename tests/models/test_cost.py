"""Costs against published figures and against hand-worked layers."""

import pytest
import torch

from pipeline.models import build_model
from pipeline.models.cost import measure_cost

# arXiv:2111.11418, table 2 (million parameters, giga multiply-accumulates at 224 x 224)
PUBLISHED = {"poolformer_s12": (11.9, 1.8), "poolformer_s24": (21.4, 3.4), "poolformer_s36": (30.9, 5.0)}
PUBLISHED |= {"poolformer_m36": (56.2, 8.8), "poolformer_m48": (73.5, 11.6)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name):
    cost = measure_cost(name, (224, 224), in_channels=3, num_classes=1000)
    millions, gigas = PUBLISHED[name]
    assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert cost.macs / 1e9 == pytest.approx(gigas, abs=0.07)


def test_slicewise_costs_as_many_images_as_there_are_slices():
    per_slice = [measure_cost("resnet18", (depth, 32, 32), volume="slicewise").macs for depth in (4, 8)]
    head = 512 * 2
    assert per_slice[1] - head == 2 * (per_slice[0] - head)


def test_memory_is_what_a_real_training_pass_keeps():
    model = build_model("resnet18").train()
    weights = {state.untyped_storage().data_ptr(): state.untyped_storage() for state in model.state_dict().values()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.zeros(1, 1, 40, 40, 40))
    activations = sum(storage.nbytes() for address, storage in kept.items() if address not in weights)
    real = sum(storage.nbytes() for storage in weights.values()) + activations
    assert measure_cost("resnet18", (40, 40, 40)).memory_bytes == pytest.approx(real, rel=0.02)
