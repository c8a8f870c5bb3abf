"""A small training that kills itself, once for each place, as a program: `python killed.py FOLDER`.

Importing takes longest, so one process imports, and forks for each place before torch has started any thread.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from lightning import Callback

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.training.callbacks import SaveBest  # noqa: E402
from tests.training.small import SmallTraining  # noqa: E402

SETTINGS = {
    **{"accumulate": 2, "ema_decay": 0.9, "patience": 3, "sampling": "balanced", "deep_supervision": (0, 0, 1, 1)},
    **{"monitor": "loss", "max_epochs": 4},
}
RUN = "run"


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillAt(Callback):
    """Kill when the batch `batch` of epoch `epoch` has been processed, before anything is saved."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.place = (epoch, batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            kill()


class KillAfterBest(Callback):
    """Kill when an epoch after the first is the best and kept as that, and last.ckpt is still of the epoch before."""

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        self.keeps = next(callback for callback in trainer.callbacks if isinstance(callback, SaveBest))
        self.before = self.keeps.best

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        if trainer.current_epoch >= 1 and self.keeps.best > self.before:
            kill()


def kill_before_rename(path_of: str, epoch: int) -> Callback:
    """Kill in the course of an epoch's write of a file, when its content stands under another name."""

    class Arm(Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if trainer.current_epoch == epoch:
                really = os.replace
                os.replace = lambda source, target: kill() if Path(target).name == path_of else really(source, target)

    return Arm()


PLACES: dict[str, Callable[[], Callback]] = {
    "in the first epoch, before anything is saved": lambda: KillAt(epoch=0, batch=3),
    "between two batches of one update": lambda: KillAt(epoch=1, batch=2),
    "after an epoch's last batch, before its validation": lambda: KillAt(epoch=1, batch=4),
    "between the best checkpoint and the last": KillAfterBest,
    "inside the write of the first last.ckpt": lambda: kill_before_rename("last.ckpt", epoch=0),
    "inside the write of last.ckpt": lambda: kill_before_rename("last.ckpt", epoch=1),
    "inside the write of best.ckpt": lambda: kill_before_rename("best.ckpt", epoch=0),
    "inside the write of history.csv": lambda: kill_before_rename("history.csv", epoch=2),
}


def folder_of(place: str, folder: Path) -> Path:
    return folder / str(list(PLACES).index(place))


def train_until_killed(place: str, folder: Path) -> None:
    """RuntimeError if it was not killed."""
    child = os.fork()
    if child == 0:
        SmallTraining(folder_of(place, folder), **SETTINGS)(RUN, PLACES[place]())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError(f"{place}: not killed, exit code {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    for name in PLACES:
        train_until_killed(name, Path(sys.argv[1]))
