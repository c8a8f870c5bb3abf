"""Two processes, with replicated or sharded weights: the updates, metrics and files of one process."""

import json
from pathlib import Path

import pytest
import torch

from pipeline.config import Training
from pipeline.core.paths import TrainingPaths
from pipeline.inference.predictor import Predictor
from pipeline.models.quantization import fake_quantize
from pipeline.training.checkpoint import TrainedCheckpoint, load_weights_only
from pipeline.training.distributed import clip_gradients
from tests.conftest import Commands
from tests.training.small import Outcome, SmallTraining

# A decay so strong that leaving it out shows, and nothing that each process would draw for itself.
SETTINGS = {"weight_decay": 5.0, "optimizer": "sgd", "options": {"drop_rate": 0.0}}
# One update, and a small one: gradients of layer scales over maps of so few voxels are mostly rounding.
SETTINGS |= {"accumulate": 5, "max_epochs": 1, "learning_rate": 0.002}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def train_in_two(folder: Path, launcher: tuple[str, ...], **settings: object) -> Path:
    """The folder of the run that two processes left."""
    content = json.dumps(SETTINGS | {"devices": 2, "batch_size": 1} | settings)
    program = str(Path(__file__).with_name("together.py"))
    done = Commands(folder).python(*launcher, program, str(folder), content)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def history_of(run: Path) -> list[float]:
    return [float(value) for line in (run / "history.csv").read_text().splitlines()[1:] for value in line.split(",")]


@pytest.mark.slow
def test_two_processes_with_sharded_weights_make_the_update_and_metrics_of_one(tmp_path: Path) -> None:
    alone: Outcome = SmallTraining(tmp_path / "alone", **SETTINGS)("run")
    run = train_in_two(tmp_path, TORCHRUN, strategy="fsdp")
    together = TrainedCheckpoint.read(run / "best.ckpt").state_dict
    assert together.keys() == alone.best.state_dict.keys()
    assert all(torch.allclose(together[name], alone.best.state_dict[name], rtol=0, atol=1e-5) for name in together)
    assert history_of(run) == pytest.approx(history_of(tmp_path / "alone" / "run"), abs=1e-5)
    logits = Predictor.load(run / "best.ckpt").network(torch.ones(1, 1, 8, 8, 8))
    assert torch.isfinite(logits).all()
    assert load_weights_only(TrainingPaths(run).last)["global_step"] == 1


@pytest.mark.slow
def test_two_processes_without_torchrun_train_over_the_quantized_weights_of_one(tmp_path: Path) -> None:
    aware = {"quantization_aware": True}
    SmallTraining(tmp_path / "alone", **SETTINGS, **aware)("run")
    run = train_in_two(tmp_path, (), **aware)
    # Their own weights: a rounded one may jump by a code where the last bit differs.
    states = [
        load_weights_only(TrainingPaths(folder).last)["state_dict"] for folder in (run, tmp_path / "alone" / "run")
    ]
    assert all(torch.allclose(states[0][name], states[1][name], rtol=0, atol=1e-5) for name in states[1])
    best = TrainedCheckpoint.read(run / "best.ckpt").state_dict["stages.0.blocks.0.mlp.fc1.weight"]
    assert torch.equal(fake_quantize(best), best)


def test_the_norm_is_over_all_gradients_and_parameters_without_one_are_unchanged() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, -4.0])
    assert float(clip_gradients(parameters, 1.0)) == 5.0
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], abs=1e-5) and parameters[2].grad is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ema_decay": 0.9}, "whole ones are needed for ema_decay"),
        ({"compile": True}, "whole ones are needed for compile"),
        ({"quantization_aware": True}, "whole ones are needed for quantization_aware"),
        ({"deep_supervision": (0, 0, 1, 1)}, "whole ones are needed for deep_supervision"),
        ({"devices": 1}, "there is one, by devices and nodes"),
    ],
)
def test_settings_that_need_unsharded_weights_are_rejected(settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Training(**{"strategy": "fsdp", "devices": 2} | settings)
