"""What a training leaves behind, and where it goes on from."""

from pathlib import Path

from lightning import Callback
from torch import Tensor

from pipeline.artifacts import FoldPaths
from pipeline.config import Config
from pipeline.files import write_yaml
from pipeline.training.callbacks import History, KeepBest, write_history
from pipeline.training.fold import Fold
from pipeline.training.places import without_places
from pipeline.training.resume import KeepLast, resumable, run_key
from pipeline.training.runfile import RunFile


class Keeping:
    """Best and last checkpoint, resolved config and history of one training, all written whole or not at all."""

    def __init__(self, config: Config, fold: Fold, paths: FoldPaths) -> None:
        settled = config.model_copy(update={"training": fold.training})
        self.config = settled.model_dump(mode="json")
        self.fold = fold
        self.paths = paths
        self.key = run_key(settled, fold.plan, fold.data_hash)
        self.resume_from: Path | None = resumable(paths.last, self.key, fold.training.max_epochs)
        self.callbacks: list[Callback] = [
            KeepBest(fold.training.monitor, self.keep_best),
            History(paths.history),
            KeepLast(paths.last, self.key),
        ]
        write_yaml(paths.config, self.config)

    def keep_best(self, epoch: int, score: float, weights: dict[str, Tensor]) -> None:
        """Write best.ckpt, which carries everything prediction needs."""
        self.run_file(epoch, score, weights).write(self.paths.best)

    def keep_only(self, weights: dict[str, Tensor], figures: dict[str, float]) -> None:
        """Write all files of a training that has no epochs: its only state is the best and the last."""
        content = self.run_file(0, figures[f"val_{self.fold.training.monitor}"], weights)
        content.write(self.paths.best)
        content.write(self.paths.last)
        write_history(self.paths.history, [{"epoch": 0, "step": 0, "learning_rate": 0.0, **figures}])

    def run_file(self, epoch: int, score: float, weights: dict[str, Tensor]) -> RunFile:
        return RunFile(
            config=without_places(self.config),
            plan=self.fold.plan.model_dump(mode="json"),
            classes=self.fold.classes,
            state_dict=weights,
            epoch=epoch,
            score=score,
            data_hash=self.fold.data_hash,
        )
