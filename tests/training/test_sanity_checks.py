"""The updates of the sanity checks are those of the training."""

from pathlib import Path

import pytest
import torch

from pipeline.data.dataset import Batch
from pipeline.training.sanity_checks import Updater, losses_by_rate
from pipeline.training.trainer import build_classifier
from tests.training.small import SmallTraining

PLAIN = {"options": {"drop_rate": 0.0}, "optimizer": "sgd", "learning_rate": 0.002}


def updater_of(training: SmallTraining) -> Updater:
    return Updater(build_classifier(training.start(), training.fold, training.config))


def batches_of(training: SmallTraining) -> list[Batch]:
    return list(training.fold.scans.train_dataloader())


def weights_of(updater: Updater) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in updater.classifier.network.parameters()])


def test_two_accumulated_batches_update_like_one_batch_of_twice_the_size(tmp_path: Path) -> None:
    small, large = SmallTraining(tmp_path, **PLAIN), SmallTraining(tmp_path, **PLAIN, batch_size=4)
    accumulated, whole = updater_of(small), updater_of(large)
    losses = accumulated(batches_of(small)[:2]), whole(batches_of(large)[:1])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert torch.allclose(weights_of(accumulated), weights_of(whole), rtol=0, atol=1e-5)
    assert not torch.equal(weights_of(whole), weights_of(updater_of(large)))


def test_lr_finder_uses_as_many_scans_per_update_as_the_training(tmp_path: Path) -> None:
    class Counting(Updater):
        seen: set[int] = set()

        def __call__(self, batches: list[Batch]) -> float:
            self.seen.add(sum(len(batch["scan_id"]) for batch in batches))
            return super().__call__(batches)

    training = SmallTraining(tmp_path, **PLAIN, accumulate=3)
    losses_by_rate(Counting(build_classifier(training.start(), training.fold, training.config)), training.fold)
    assert Counting.seen == {6}


def test_updates_use_the_precision_of_the_training(tmp_path: Path) -> None:
    whole, half = SmallTraining(tmp_path, **PLAIN), SmallTraining(tmp_path, **PLAIN, precision="bf16-mixed")
    losses = [updater_of(training)(batches_of(training)[:1]) for training in (whole, half)]
    assert 0 < abs(losses[0] - losses[1]) < 0.02


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training.accelerator: gpu, but torch finds none"):
        updater_of(SmallTraining(tmp_path, accelerator="gpu"))
