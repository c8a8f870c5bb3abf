"""Going on with a killed training, only if it is the same training."""

import hashlib
import json
import logging
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from pipeline.config import Config, Plan
from pipeline.files import whole_file
from pipeline.training.places import without_folders
from pipeline.training.runfile import load_plain

log = logging.getLogger(__name__)
STATE = "KeepLast"


def run_key(config: Config, plan: Plan, data_hash: str) -> str:
    """A short hash of all that decides the weights: what is trained, how, on what. Also the id of the W&B run."""
    decisive = config.model_dump(mode="json", include={"name", "fold", "seed", "model", "augmentation", "training"})
    cohort = config.cohort.model_dump(mode="json", include={"name", "modality", "laterality", "size_is_diagnostic"})
    decisive |= {"cohort": cohort, "plan": plan.model_dump(mode="json"), "data": data_hash}
    # Folders decide nothing, and the checkpoint, from which the key can be told again, does not hold them.
    decisive = without_folders(decisive)
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


class KeepLast(Callback):
    """Write the whole training state after each epoch, by rename, so that a kill never leaves half a file."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    @property
    def state_key(self) -> str:
        return STATE

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with whole_file(self.path) as temporary:
            trainer.save_checkpoint(temporary)

    def state_dict(self) -> dict[str, str]:
        return {"key": self.key}


def resumable(path: Path, key: str, max_epochs: int) -> Path | None:
    """The state to go on from: there, whole, of this very run and not yet at its end; else None."""
    if not path.is_file():
        return None
    try:
        state = load_plain(path)
    except ValueError as error:
        log.warning("%s Training starts anew.", error)
        return None
    same = state.get("callbacks", {}).get(STATE, {}).get("key") == key
    if not same or state["epoch"] + 1 >= max_epochs:
        return None
    log.info("going on from epoch %d of %s", state["epoch"] + 1, path)
    return path
