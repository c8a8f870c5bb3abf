"""What a training leaves behind, and where it goes on from."""

from pathlib import Path

from lightning import Callback
from torch import Tensor

from pipeline.config import Config
from pipeline.core.io import write_yaml
from pipeline.core.paths import FoldPaths
from pipeline.core.provenance import without_places
from pipeline.training.fold import Fold
from pipeline.training.keeping.callbacks import SIGNS, History, KeepBest
from pipeline.training.keeping.history import write_history
from pipeline.training.keeping.interrupting import StopOnSignal
from pipeline.training.keeping.resume import KeepLast, resumable
from pipeline.training.keeping.runfile import RunFile
from pipeline.training.optimisation.averaging import AverageWeights
from pipeline.training.optimisation.rounding import LearnRounded
from pipeline.training.optimisation.stopping import StopEarly
from pipeline.training.processes import is_first
from pipeline.training.provenance import hash_of_code, run_key


class Keeping:
    """Best and last checkpoint, resolved config and history of one training, all written whole or not at all."""

    def __init__(self, config: Config, fold: Fold, paths: FoldPaths) -> None:
        self.config = config.model_dump(mode="json")
        self.fold = fold
        self.paths = paths
        self.key = run_key(config, fold.plan, fold.data_hash)
        self.resume_from: Path | None = resumable(paths.last, self.key)
        self.callbacks = self.build_callbacks()
        if is_first():
            write_yaml(paths.config, self.config)

    def build_callbacks(self) -> list[Callback]:
        """What watches the training. The order matters: the best weights are kept while averaged and rounded ones are
        in place, and the state is saved when all others have settled theirs."""
        training = self.fold.training
        monitor, last = training.monitor, KeepLast(self.paths.last, self.key)
        callbacks: list[Callback] = [KeepBest(monitor, self.keep_best, self.clear_best)]
        if training.quantisation_aware:
            callbacks.append(LearnRounded())
        if training.ema_decay:
            callbacks.append(AverageWeights(training.ema_decay))
        if training.patience:
            callbacks.append(StopEarly(f"val_{monitor}", SIGNS[monitor], training.patience))
        return [*callbacks, History(self.paths.history), last, StopOnSignal(last.save)]

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

    def run_file(self, epoch: int, score: float, weights: dict[str, Tensor]) -> RunFile:
        return RunFile(
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
