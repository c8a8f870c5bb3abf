import io
import logging
import os
import pickle
import signal
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import Callback

from pipeline.core.paths import TrainingPaths
from pipeline.training.checkpoint import RunDirectory, TrainedCheckpoint
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


def test_the_same_content_gives_the_same_bytes_whoever_shares_its_objects(path: Path, tmp_path: Path) -> None:
    trained, plain = TrainedCheckpoint.read(path), "".join(["pla", "in"])
    other = replace(trained, classes=[plain, "cube"], config={"name": "tiny", "more": [plain, [1, 2]]})
    for name, changed in {"a": {"plan": {"of": plain}}, "b": {"plan": {"of": "".join(["pl", "ain"])}}}.items():
        replace(other, **changed).write(tmp_path / f"{name}.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()
    trained.write(tmp_path / "other name.ckpt")
    assert (tmp_path / "other name.ckpt").read_bytes() == path.read_bytes()


def test_members_that_would_inflate_are_rejected_before_they_do(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content + bytes(1 << 26) if name.endswith("data/0") else content)
    with pytest.raises(ValueError, match=r"data/0 is compressed, \d+ to 67108\d+ bytes|data.pkl is compressed"):
        TrainedCheckpoint.read(path)


def test_members_that_are_the_same_bytes_many_times_over_are_rejected(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        for copy in range(50):
            twin = archive.NameToInfo[f"twin{copy}"] = zipfile.ZipInfo(f"twin{copy}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, field, getattr(largest, field))
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(ValueError, match="its members have .* bytes, the file has"):
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


def test_a_training_without_its_closing_record_is_not_repeated_and_a_closed_one_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = SmallTraining(tmp_path, max_epochs=2)
    training("run")
    folder = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    caplog.set_level(logging.INFO)
    training("run")
    assert "all epochs are done; closing" in caplog.text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / "best.json").write_text("{}")
    (folder / "best.int8.ckpt").write_text("of the earlier training")
    caplog.clear()
    training("run")
    assert "closing" not in caplog.text and "resuming" not in caplog.text
    # The same training, so the same bytes, and nothing of the one before.
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", [None, "another"])
def test_a_training_whose_best_checkpoint_is_gone_or_another_s_starts_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    training = SmallTraining(tmp_path, max_epochs=2)
    training("run")
    best = tmp_path / "run" / "best.ckpt"
    whole = best.read_bytes()
    if name is None:
        best.unlink()
    else:
        trained = TrainedCheckpoint.read(best)
        replace(trained, config=trained.config | {"name": name}).write(best)
    training("run")
    assert "Training starts over" in caplog.text and best.read_bytes() == whole


def test_settings_that_fail_at_the_first_batch_cost_no_earlier_result(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, max_epochs=1)
    training("run")
    before = (tmp_path / "run" / "best.ckpt").read_bytes()

    class Fail(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
            raise MemoryError("out of memory")

    with pytest.raises(ValueError, match="out of memory with batches of 2"):
        SmallTraining(tmp_path, max_epochs=1, learning_rate=1e-3)("run", Fail())
    assert (tmp_path / "run" / "best.ckpt").read_bytes() == before


def test_a_second_process_in_the_folder_of_a_training_is_refused(tmp_path: Path) -> None:
    training = SmallTraining(tmp_path, max_epochs=1)
    refused = []

    class TrainBeside(Callback):
        def on_train_start(self, trainer, pl_module) -> None:
            child = os.fork()
            if child == 0:
                try:
                    RunDirectory(training.config, training.fold, TrainingPaths(tmp_path / "run"))
                except ValueError as error:
                    os._exit(3 if "another process trains in this folder" in str(error) else 1)
                os._exit(0)
            refused.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    training("run", TrainBeside())
    assert refused == [3]


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
