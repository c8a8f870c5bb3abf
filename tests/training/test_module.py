import math

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import Training
from pipeline.data.augmentation.mixing import Mixer
from pipeline.models.network import StageOutputs
from pipeline.training.losses import StageClassifiers
from pipeline.training.module import Classifier


def test_a_non_finite_loss_names_the_scans() -> None:
    classifier = Classifier(nn.Identity(), nn.CrossEntropyLoss(), Training())
    batch = {"image": torch.full((2, 2), math.nan), "label": torch.tensor([0, 1]), "scan_id": ["a1", "b2"]}
    with pytest.raises(ValueError, match=r"nan on scans a1, b2.*learning_rate"):
        classifier.training_step(batch, 0)


class Shown(nn.Module):
    """Logits are the means of the two halves of the depth axis."""

    num_classes = 2

    def forward(self, volume: Tensor) -> Tensor:
        return torch.stack([half.mean((1, 2, 3, 4)) for half in volume.chunk(2, dim=2)], dim=1)


def test_mixed_scans_have_mixed_targets() -> None:
    classifier = Classifier(Shown(), nn.CrossEntropyLoss(), Training(), mix=Mixer(mixup=1.0))
    volume = torch.zeros(2, 1, 2, 1, 1)
    volume[0, 0, 0] = volume[1, 0, 1] = 10.0
    batch = {"image": volume, "label": torch.tensor([0, 1]), "scan_id": ["a", "b"]}
    mixed, shares = classifier.mixed(batch)
    # Each scan lights up the half of its class, so a mixture shows in the voxels the very shares that its label has.
    assert torch.allclose(Shown()(mixed) / 10, shares)
    assert 0.001 < float(shares[0, 1]) < 0.999
    assert float(classifier.training_step(batch, 0)) == pytest.approx(
        float(-(shares * (shares * 10).log_softmax(1)).sum(1).mean())
    )


def test_deep_supervision_is_the_weighted_mean_over_network_and_stages() -> None:
    stages = StageClassifiers([1, 1, 1, 1], 2, weights=(0.0, 0.0, 0.5, 1.5))
    with torch.no_grad():
        for head in (stages.heads[2], stages.heads[3]):
            head.weight.copy_(torch.tensor([[0.0], [1.0]]))
    # Mean maps log 3 and 0 give probabilities 3/4 and 1/2 of class 1, the network itself 4/5.
    maps = tuple(torch.full((1, 1, 2, 2, 2), value) for value in (9.0, 9.0, math.log(3), 0.0))
    outputs = StageOutputs(maps, torch.tensor([[0.0, math.log(4)]]))
    expected = -(math.log(4 / 5) + 0.5 * math.log(3 / 4) + 1.5 * math.log(1 / 2)) / 3
    assert stages.loss(outputs, torch.tensor([1]), nn.CrossEntropyLoss()).item() == pytest.approx(expected)
    assert sum(parameter.numel() for parameter in stages.parameters()) == 8
