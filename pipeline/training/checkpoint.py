"""Checkpoints: what best.ckpt and last.ckpt contain, and the folder of one training.

The only module that writes or reads checkpoints. It does not import Lightning, so that reading a trained model is fast;
`callbacks.py` decides when a checkpoint is written.
"""

import logging
import math
import sys
import zipfile
from collections.abc import Iterable
from csv import DictWriter
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.config import Config, Plan
from pipeline.core.columns import HISTORY_COLUMNS
from pipeline.core.io import lock_for_process, whole_file, write_json, write_yaml
from pipeline.core.paths import TrainingPaths
from pipeline.core.provenance import portable_config
from pipeline.models.pretrained.sources import check_stored_plainly
from pipeline.training.distributed import is_rank_zero
from pipeline.training.provenance import hash_of_code, run_key

if TYPE_CHECKING:
    from pipeline.training.fold_data import Fold

log = logging.getLogger(__name__)
FORMAT = 2
"""Version of the content of best.ckpt."""
RUN_STATE = "SaveLast"
"""Entry of last.ckpt among the states of callbacks: of which training it is, by which code, and is it complete?"""

BEST_STATE = "SaveBest"
"""The entry with the best metric so far."""


@dataclass(frozen=True)
class TrainedCheckpoint:
    """The content of `best.ckpt`: a network with everything that prediction needs."""

    config: dict[str, Any]
    """The resolved config, as in config.yaml, without local paths."""
    plan: dict[str, Any]
    """How raw scans are preprocessed."""
    classes: list[str]
    """Class names in the order of the logits."""
    state_dict: dict[str, Tensor]
    """The network's weights."""
    epoch: int
    """The epoch of these weights, from 0."""
    score: float
    """The monitored validation metric in that epoch, as it was before smoothing."""
    data_hash: str
    """SHA-256 of the training and validation data."""
    code_hash: str
    """SHA-256 of the training code."""

    @property
    def key(self) -> str:
        """`run_key` of the training that it comes from, wherever the file is now."""
        return run_key(Config.from_record(self.config), Plan.model_validate(self.plan), self.data_hash)

    def write(self, path: Path) -> None:
        save_atomically({"format": FORMAT, **vars(self)}, path)

    @classmethod
    def read(cls, path: Path) -> "TrainedCheckpoint":
        """Reject files that are corrupt, contain code, or were not written by this pipeline."""
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


def save_atomically(content: Any, path: Path) -> None:
    """torch.save to a temporary file that is then renamed, so that a kill never leaves half a checkpoint.

    The same content gives the same bytes: torch writes the name of a file, here a random one, into it, but has none of
    an open file.
    """
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        torch.save(as_own_objects(content), stream)


def as_own_objects(value: Any) -> Any:
    """Equal plain containers, each an object of its own, whose equal strings are one object.

    pickle writes an object that it meets again as a reference; so bytes would depend on who shares an object.
    """
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {as_own_objects(key): as_own_objects(inner) for key, inner in value.items()}
    return type(value)(map(as_own_objects, value)) if type(value) in (list, tuple) else value


def load_weights_only(path: Path) -> Any:
    """The tensors and plain values of a file that torch.save wrote; a corrupt file, or one with code, is a ValueError.

    Verifies the checksums of the archive, which torch.load ignores, once its members are known to be plain bytes of the
    file: compressed ones could inflate to any size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_stored_plainly(archive, path.stat().st_size)
            corrupt = archive.testzip()
        if corrupt:
            raise ValueError(f"checksum of {corrupt}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, EOFError, UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a complete checkpoint of plain weights ({reason}); train again.") from None


def read_run_state(path: Path, key: str) -> dict[str, Any] | None:
    """The state in `path` if it is intact and of the same training (`key`) by the same code, else None."""
    try:
        state = load_weights_only(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s Training starts over.", error)
        return None
    own = state.get("callbacks", {}).get(RUN_STATE, {}) if isinstance(state, dict) else {}
    if own.get("key") != key:
        return None
    if own.get("code_hash") != hash_of_code():
        # The key does not include the code: the W&B run, which it names, is the same training, started over.
        log.warning("%s: written by another version of the training code; training starts over.", path)
        return None
    return state


class RunDirectory:
    """The folder of one training: best and last checkpoint, resolved config and history, each written atomically.

    This process alone may train in it; ValueError if another one does.
    """

    def __init__(self, config: Config, fold: "Fold", paths: TrainingPaths) -> None:
        self.config = config.model_dump(mode="json")
        self.fold = fold
        self.paths = paths
        self.key = run_key(config, fold.plan, fold.data_hash)
        self.lock = lock_training(paths) if is_rank_zero() else None
        self.resume_from: Path | None = None
        self.is_trained = False
        """All epochs are done, but best.json, which is written last, is missing: the end was interrupted."""
        # A training with best.json is over, and trains anew if the command is given again.
        state = None if paths.best_epoch.is_file() else read_run_state(paths.last, self.key)
        if state is None or not self.has_best(state):
            return
        self.is_trained = state["callbacks"][RUN_STATE]["is_finished"]
        if not self.is_trained:
            self.resume_from = paths.last
            epoch, updates = state["epoch"] + 1, state["global_step"]
            log.info("resuming from epoch %d, after %d updates, of %s", epoch, updates, paths.last)

    def has_best(self, state: dict[str, Any]) -> bool:
        """Is best.ckpt intact and of this training, if its metric was defined so far?"""
        if not math.isfinite(state["callbacks"][BEST_STATE]["best"]):
            return True
        try:
            best = TrainedCheckpoint.read(self.paths.best)
            if (best.key, best.code_hash) == (self.key, hash_of_code()):
                return True
            reason = f"{self.paths.best}: not of this training."
        except (ValueError, FileNotFoundError) as error:
            reason = str(error)
        log.warning("%s Training starts over.", reason)
        return False

    def begin(self) -> None:
        """Write config.yaml, and unless the training resumes, remove what an earlier one left.

        Called once training works: settings that fail at the first batch cost nobody an earlier result.
        """
        if self.resume_from is None:
            paths = self.paths
            for earlier in (
                paths.last,
                paths.best,
                paths.best_epoch,
                paths.history,
                paths.int8,
                paths.quantized,
                paths.members,
            ):
                earlier.unlink(missing_ok=True)
        write_yaml(self.paths.config, self.config)

    def save_best(self, epoch: int, score: float, weights: dict[str, Tensor]) -> None:
        """Write best.ckpt."""
        self.trained_checkpoint(epoch, score, weights).write(self.paths.best)

    def save_only_epoch(
        self, weights: dict[str, Tensor], metrics: dict[str, float], members: dict[str, Any] | None = None
    ) -> None:
        """Write all files of a training without epochs: its only state is the best and the last.

        `members` says of a stack how much each member counts.
        """
        self.begin()
        if members:
            write_json(self.paths.members, members)
        checkpoint = self.trained_checkpoint(0, metrics[f"val_{self.fold.training.monitor}"], weights)
        checkpoint.write(self.paths.best)
        checkpoint.write(self.paths.last)
        self.write_history([{"epoch": 0, "step": 0, "learning_rate": 0.0, **metrics}])

    def write_history(self, rows: Iterable[dict[str, float]]) -> None:
        """Write history.csv, one row per epoch."""
        with whole_file(self.paths.history) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = DictWriter(stream, HISTORY_COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    def trained_checkpoint(self, epoch: int, score: float, weights: dict[str, Tensor]) -> TrainedCheckpoint:
        return TrainedCheckpoint(
            config=portable_config(self.config),
            # A checkpoint travels: it says how scans are preprocessed, not which scans the plan was derived from.
            plan=self.fold.plan.model_dump(mode="json", exclude={"measured"}),
            classes=self.fold.classes,
            state_dict=weights,
            epoch=epoch,
            score=score,
            data_hash=self.fold.data_hash,
            code_hash=hash_of_code(),
        )


def lock_training(paths: TrainingPaths) -> IO[bytes] | None:
    """Lock the folder of a training until this process ends."""
    try:
        return lock_for_process(paths.lock)
    except BlockingIOError:
        raise ValueError(
            f"{paths.folder}: another process trains in this folder, expected one at a time; wait for it or stop it. "
            "Other folds, seeds and experiments have folders of their own."
        ) from None
