"""Checkpoints: write, read, choose the best, resume. The only module that reads or writes them."""

import logging
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from pipeline.config import Config
from pipeline.core.io import whole_file, write_yaml
from pipeline.core.paths import FoldPaths
from pipeline.core.provenance import without_places
from pipeline.training.callbacks import SIGNS, EMAWeights, History, SaveBest, QuantizationAwareTraining, EarlyStopping, write_history
from pipeline.training.distributed import is_rank_zero
from pipeline.training.fold_data import Fold
from pipeline.training.provenance import hash_of_code, run_key
from pipeline.training.signals import GracefulShutdown

FORMAT = 2


@dataclass(frozen=True)
class TrainedCheckpoint:
    """What `best.ckpt` holds."""

    config: dict[str, Any]
    """The resolved config, as in config.yaml."""
    plan: dict[str, Any]
    """How raw scans are prepared."""
    classes: list[str]
    """Class names in the order of the logits."""
    state_dict: dict[str, Tensor]
    """The network's weights."""
    epoch: int
    """The epoch they come from, from 0."""
    score: float
    """The monitored validation figure there."""
    data_hash: str
    """Of the training data, so that a run can be told from one on other data."""
    code_hash: str
    """Of the code that trained it."""

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        with whole_file(path) as temporary:
            torch.save({"format": FORMAT, **vars(self)}, temporary)

    @classmethod
    def read(cls, path: Path) -> "TrainedCheckpoint":
        """Refuses a file that is damaged, holds code, or is none of ours."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; 'dvc repro' or 'python -m pipeline.train' writes it.")
        content = load_weights_only(path)
        expected = {field.name for field in fields(cls)} | {"format"}
        written = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
        if written != FORMAT:
            raise ValueError(f"{path}: written in format {written}, expected {FORMAT}; train again with this version.")
        if not isinstance(content, dict) or set(content) != expected:
            raise ValueError(f"{path}: not one of this pipeline's checkpoints, expected the keys {sorted(expected)}.")
        return cls(**{name: content[name] for name in expected - {"format"}})


def load_weights_only(path: Path) -> Any:
    """Tensors and plain values of a file that torch.save wrote, its checksums verified; anything else is an error."""
    try:
        # torch.load does not look at the checksums that torch.save wrote.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, EOFError, UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a whole checkpoint of plain weights ({reason}); train again.") from None


log = logging.getLogger(__name__)
STATE = "SaveLast"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints take their place by rename, so that a kill never leaves half a file.

    They go straight to the disk: Lightning itself first makes a copy in memory, then one in the temporary folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: None = None) -> None:
        with whole_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class SaveLast(Callback):
    """Write the whole training state after each epoch."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.is_finished = False

    @property
    def state_key(self) -> str:
        return STATE

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.is_finished = trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the state as it is now; all processes must call it."""
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"key": self.key, "code_hash": hash_of_code(), "is_finished": self.is_finished}


def find_resume_checkpoint(path: Path, key: str) -> Path | None:
    """The state to go on from: there, whole, of this very run and code and not yet at its end; else None."""
    if not path.is_file():
        return None
    try:
        state = load_weights_only(path)
    except ValueError as error:
        log.warning("%s Training starts anew.", error)
        return None
    own = state.get("callbacks", {}).get(STATE, {}) if isinstance(state, dict) else {}
    if own.get("key") != key or own["is_finished"]:
        return None
    if own.get("code_hash") != hash_of_code():
        # No part of the key, which names the W&B run: that run is the same training, begun again.
        log.warning("%s: written by another version of the code that trains; training starts anew.", path)
        return None
    log.info("going on from epoch %d, after %d updates, of %s", state["epoch"] + 1, state["global_step"], path)
    return path


class RunDirectory:
    """Best and last checkpoint, resolved config and history of one training, all written whole or not at all."""

    def __init__(self, config: Config, fold: Fold, paths: FoldPaths) -> None:
        self.config = config.model_dump(mode="json")
        self.fold = fold
        self.paths = paths
        self.key = run_key(config, fold.plan, fold.data_hash)
        self.resume_from: Path | None = find_resume_checkpoint(paths.last, self.key)
        self.callbacks = self.build_callbacks()
        if is_rank_zero():
            write_yaml(paths.config, self.config)

    def build_callbacks(self) -> list[Callback]:
        """What watches the training. The order matters: the best weights are kept while averaged and rounded ones are
        in place, and the state is saved when all others have settled theirs."""
        training = self.fold.training
        monitor, last = training.monitor, SaveLast(self.paths.last, self.key)
        callbacks: list[Callback] = [SaveBest(monitor, self.keep_best, self.clear_best)]
        if training.quantization_aware:
            callbacks.append(QuantizationAwareTraining())
        if training.ema_decay:
            callbacks.append(EMAWeights(training.ema_decay))
        if training.patience:
            callbacks.append(EarlyStopping(f"val_{monitor}", SIGNS[monitor], training.patience))
        return [*callbacks, History(self.paths.history), last, GracefulShutdown(last.save)]

    def admit(self, watching: list[Callback]) -> None:
        """Let others watch too: after history.csv has its row, before the state is saved."""
        self.callbacks[-2:-2] = watching

    def keep_best(self, epoch: int, score: float, weights: dict[str, Tensor]) -> None:
        """Write best.ckpt, which carries everything prediction needs."""
        self.run_file(epoch, score, weights).write(self.paths.best)

    def clear_best(self) -> None:
        """Remove the best.ckpt of an earlier training."""
        self.paths.best.unlink(missing_ok=True)

    def keep_only(self, weights: dict[str, Tensor], figures: dict[str, float]) -> None:
        """Write all files of a training that has no epochs: its only state is the best and the last."""
        content = self.run_file(0, figures[f"val_{self.fold.training.monitor}"], weights)
        content.write(self.paths.best)
        content.write(self.paths.last)
        write_history(self.paths.history, [{"epoch": 0, "step": 0, "learning_rate": 0.0, **figures}])

    def run_file(self, epoch: int, score: float, weights: dict[str, Tensor]) -> TrainedCheckpoint:
        return TrainedCheckpoint(
            config=without_places(self.config),
            # A checkpoint travels: it tells how scans are prepared, not whose were looked at to decide so.
            plan=self.fold.plan.model_dump(mode="json", exclude={"measured"}),
            classes=self.fold.classes,
            state_dict=weights,
            epoch=epoch,
            score=score,
            data_hash=self.fold.data_hash,
            code_hash=hash_of_code(),
        )
