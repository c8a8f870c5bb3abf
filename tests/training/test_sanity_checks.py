"""The updates of the looks before a training are those of the training."""

from pathlib import Path

import pytest
import torch

from pipeline.data.dataset import Batch
from pipeline.training.sanity_checks import Updates, losses_by_rate
from pipeline.training.trainer import build_classifier
from tests.training.small import SmallTraining

PLAIN = {"options": {"drop_rate": 0.0}, "optimizer": "sgd", "learning_rate": 0.002}


def updates_of(training: SmallTraining) -> Updates:
    return Updates(build_classifier(training.start(), training.fold, training.config))


def batches_of(training: SmallTraining) -> list[Batch]:
    return list(training.fold.scans.train_dataloader())


def weights_of(updates: Updates) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in updates.classifier.network.parameters()])


def test_two_accumulated_batches_make_the_update_of_one_that_is_twice_as_large(tmp_path: Path) -> None:
    small, large = SmallTraining(tmp_path, **PLAIN), SmallTraining(tmp_path, **PLAIN, batch_size=4)
    accumulated, whole = updates_of(small), updates_of(large)
    losses = accumulated(batches_of(small)[:2]), whole(batches_of(large)[:1])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert torch.allclose(weights_of(accumulated), weights_of(whole), rtol=0, atol=1e-5)
    assert not torch.equal(weights_of(whole), weights_of(updates_of(large)))


def test_the_probe_takes_as_many_scans_an_update_as_the_training(tmp_path: Path) -> None:
    class Counting(Updates):
        seen: set[int] = set()

        def __call__(self, batches: list[Batch]) -> float:
            self.seen.add(sum(len(batch["scan_id"]) for batch in batches))
            return super().__call__(batches)

    training = SmallTraining(tmp_path, **PLAIN, accumulate=3)
    losses_by_rate(Counting(build_classifier(training.start(), training.fold, training.config)), training.fold)
    assert Counting.seen == {6}


def test_half_precision_is_that_of_the_training(tmp_path: Path) -> None:
    whole, half = SmallTraining(tmp_path, **PLAIN), SmallTraining(tmp_path, **PLAIN, precision="bf16-mixed")
    losses = [updates_of(training)(batches_of(training)[:1]) for training in (whole, half)]
    assert 0 < abs(losses[0] - losses[1]) < 0.02


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is one")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training.accelerator: gpu, but torch sees none here"):
        updates_of(SmallTraining(tmp_path, accelerator="gpu"))
