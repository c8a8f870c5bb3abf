"""Finished trainings as their files tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import Config, Plan
from pipeline.config.load import check_file
from pipeline.core.paths import FoldPaths
from pipeline.tracking.record import run_id_from
from pipeline.training.checkpoint import RunFile
from pipeline.training.provenance import run_key


@dataclass(frozen=True)
class Trained:
    """One fold of an experiment."""

    config: Config
    run_id: str
    """Of its W&B run."""
    key: str
    score: float
    """The monitored validation figure of its best epoch."""
    files: FoldPaths

    @property
    def goodness(self) -> float:
        """The score, turned so that more is better."""
        return -self.score if self.config.training.monitor == "loss" else self.score


def read_trained(files: FoldPaths) -> Trained:
    trained = RunFile.read(files.best)
    key = key_of(trained)
    return Trained(check_file(Config, files.config), run_id_from(files.tracking, key), key, trained.score, files)


def key_of(trained: RunFile) -> str:
    """The key of the training that a model file comes from, wherever the file lies now."""
    config = Config.model_validate(trained.config)
    return run_key(config, Plan.model_validate(trained.plan), trained.data_hash)


def best_of(trainings: Sequence[Trained]) -> Trained:
    """The training that validates best; of equal ones the first."""
    return max(trainings, key=lambda trained: trained.goodness)
