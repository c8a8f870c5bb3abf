"""Going on with a killed training, only if it is the same training."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pipeline.core.io import whole_file
from pipeline.training.keeping.runfile import load_plain
from pipeline.training.provenance import hash_of_code

log = logging.getLogger(__name__)
STATE = "KeepLast"


class WholeFiles(TorchCheckpointIO):
    """Checkpoints take their place by rename, so that a kill never leaves half a file.

    They go straight to the disk: Lightning itself first makes a copy in memory, then one in the temporary folder.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: None = None) -> None:
        with whole_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class KeepLast(Callback):
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


def resumable(path: Path, key: str) -> Path | None:
    """The state to go on from: there, whole, of this very run and code and not yet at its end; else None."""
    if not path.is_file():
        return None
    try:
        state = load_plain(path)
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
