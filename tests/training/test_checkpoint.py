import io
import logging
import os
import pickle
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.training.checkpoint import TrainedCheckpoint
from tests.training.small import SendSignal, SmallTraining

CONTENT = dict(
    config={"name": "tiny"},
    plan={"orientation": "SPL"},
    classes=["plain", "cube"],
    epoch=3,
    score=0.8,
    data_hash="abc",
    code_hash="def",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    TrainedCheckpoint(**CONTENT, state_dict={"weight": torch.arange(6.0).view(2, 3)}).write(tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def test_a_checkpoint_is_read_back_as_written(path: Path) -> None:
    content = TrainedCheckpoint.read(path)
    assert torch.equal(content.state_dict["weight"], torch.arange(6.0).view(2, 3))
    assert {key: getattr(content, key) for key in CONTENT} == CONTENT


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_rejected(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="best.ckpt: not a complete checkpoint"):
        TrainedCheckpoint.read(path)


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.target}",)


def test_code_in_a_checkpoint_is_rejected_and_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "best.ckpt", tmp_path / "ran"
    torch.save({**CONTENT, "format": 1, "state_dict": Bomb(proof)}, path)
    with pytest.raises(ValueError, match="plain weights"):
        TrainedCheckpoint.read(path)
    path.write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(ValueError, match="plain weights"):
        TrainedCheckpoint.read(path)
    assert not proof.exists()


def test_an_instantiator_is_refused(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, "_instantiator": "os.system"}, path)
    with pytest.raises(ValueError, match="expected the keys"):
        TrainedCheckpoint.read(path)


def test_a_flipped_byte_in_the_weights_is_rejected(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/0"))
        offset = archive.getinfo(name).header_offset
    whole = bytearray(path.read_bytes())
    start = whole.index(torch.arange(6.0).numpy().tobytes(), offset)
    whole[start + 5] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="not a complete checkpoint"):
        TrainedCheckpoint.read(path)


def test_a_foreign_file_is_rejected(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"state_dict": {}}, stream)
    (tmp_path / "best.ckpt").write_bytes(stream.getvalue())
    with pytest.raises(ValueError, match="not one of this pipeline's checkpoints"):
        TrainedCheckpoint.read(tmp_path / "best.ckpt")


def test_a_file_of_an_earlier_format_is_rejected_with_both_formats(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in content.items() if name != "code_hash"} | {"format": 1}, path)
    with pytest.raises(ValueError, match="written in format 1, expected 2; train again"):
        TrainedCheckpoint.read(path)


def test_a_missing_file_says_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="pipeline.train"):
        TrainedCheckpoint.read(tmp_path / "best.ckpt")


def test_a_finished_training_starts_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = SmallTraining(tmp_path, max_epochs=2)
    training("run")
    caplog.set_level(logging.INFO)
    training("run")
    assert "resuming" not in caplog.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: state["callbacks"]["SaveLast"].update(code_hash="other"),
            "version of the training code",
        ),
        (lambda state: state["callbacks"]["SaveLast"].pop("code_hash"), "version of the training code"),
        (lambda state: state["callbacks"]["SaveLast"].update(key="other"), ""),
        (None, ""),  # a list, which is no state at all
    ],
)
def test_a_checkpoint_of_other_code_or_another_training_is_not_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[dict], object] | None, says: str
) -> None:
    training = SmallTraining(tmp_path)
    with pytest.raises(SystemExit):
        training("stopped", SendSignal(signal.SIGTERM, epoch=1, batch=1))
    last = tmp_path / "stopped" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    if change:
        change(state)
    torch.save(state if change else [state], last)
    caplog.clear()
    assert training("stopped").history["epoch"].tolist() == [0, 1, 2]
    assert says in caplog.text and "resuming" not in caplog.text
