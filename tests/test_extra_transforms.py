"""A transform that a user's config names reaches training, and an interrupted training with it resumes exactly."""

import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.core.paths import TrainingPaths
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.conftest import EXPERIMENT, Commands

FOLD = Path("runs/cubes/tiny/fold-0-seed-0")
NOISY = EXPERIMENT.replace(
    "augmentation: {strength: none}",
    "augmentation: {strength: none, extra: [{name: RandGaussianNoise, prob: 1.0, std: 0.3}]}",
)


def prepare(finished: Path, folder: Path, experiment: str) -> Commands:
    """The finished project without its training."""
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / FOLD)
    (folder / "configs" / "tiny.yaml").write_text(experiment)
    return Commands(folder)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return TrainedCheckpoint.read(TrainingPaths(folder / FOLD).best).state_dict


@pytest.mark.slow
def test_noise_by_name_changes_training_and_survives_kill_and_resume(finished: Path, tmp_path: Path) -> None:
    prepare(finished, tmp_path / "whole", NOISY)("train")
    whole = pd.read_csv(tmp_path / "whole" / FOLD / "history.csv")
    plain = pd.read_csv(finished / FOLD / "history.csv")
    assert not (whole["train_loss"] == plain["train_loss"]).any()

    command = prepare(finished, tmp_path / "killed", NOISY)
    history = tmp_path / "killed" / FOLD / "history.csv"
    training = command.start("-m", "pipeline.train")
    # Written last at the end of an epoch: from here the training can resume.
    while training.poll() is None and not history.with_name("last.ckpt").exists():
        time.sleep(0.01)
    training.send_signal(signal.SIGKILL)
    assert training.wait() == -signal.SIGKILL and len(pd.read_csv(history)) < len(whole)
    assert "resuming" in command("train").stderr
    pd.testing.assert_frame_equal(pd.read_csv(history), whole)
    one, other = weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("{name: RandGausianNoise}", "augmentation.extra[0]: unknown transform 'RandGausianNoise'. Did you mean"),
        (
            "{name: RandGaussianNoise, probability: 1}",
            "RandGaussianNoise has no argument 'probability'. Known: prob, mean",
        ),
        ("{name: RandGaussianNoise, prob: often}", "augmentation.extra[0]: RandGaussianNoise rejects its arguments"),
    ],
)
def test_a_transform_that_training_could_not_build_stops_preprocessing(
    finished: Path, tmp_path: Path, extra: str, says: str
) -> None:
    wrong = EXPERIMENT.replace("{strength: none}", f"{{strength: none, extra: [{extra}]}}")
    done = prepare(finished, tmp_path / "wrong", wrong)("preprocess", check=False)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
