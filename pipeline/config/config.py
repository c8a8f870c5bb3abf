"""An experiment and a cohort together: what a stage gets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from pipeline.config.augmentation import Augmentation
from pipeline.config.cohort import Cohort
from pipeline.config.evaluation import Evaluation
from pipeline.config.explanation import Explanation
from pipeline.config.model import Model
from pipeline.config.section import Name, Section
from pipeline.config.tracking import Tracking
from pipeline.config.training import Training
from pipeline.core.paths import OTHER_PAGES, TrainingKey


class Config(Section):
    """All that a stage may read."""

    name: Name
    """The experiment: its file's name."""
    cohort: Cohort
    """The cohort's own file; on the command line `cohort=NAME` picks it and `cohort.split.num_folds=3` changes it."""
    fold: NonNegativeInt = 0
    """Which fold validates, from 0."""
    seed: NonNegativeInt = 0
    """Seed of initial weights, order and augmentation."""
    folds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Folds that are trained, from params.yaml."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Seeds with which each fold is trained, from params.yaml."""
    experiments: tuple[Name, ...] = ()
    """Experiments that are compared, from params.yaml."""
    plugins: tuple[str, ...] = Field(default=(), exclude=True)
    """Modules of your own, found from the current folder, that register losses, metrics and more; never recorded."""
    model: Model
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    tracking: Tracking = Tracking()
    root: Path = Path(".")
    """Folder that holds data/, runs/ and reports/."""

    @classmethod
    def from_command_line(cls, file: str | None, overrides: Sequence[str]) -> Self:
        """The experiment `file` (default: the first of params.yaml) on its cohort, changed by `section.key=value`."""
        from pipeline.config.load import load_config

        return load_config(file, overrides)

    @classmethod
    def reference(cls) -> str:
        """Every key with type, default and meaning."""
        from pipeline.config.reference import config_reference

        return config_reference(cls)

    @model_validator(mode="after")
    def _own_pages(self) -> "Config":
        for name in (self.name, *self.experiments):
            if name in OTHER_PAGES:
                raise ValueError(f"an experiment cannot be named '{name}': that is a page of the report; rename it")
        return self

    @field_validator("folds", "seeds", "experiments")
    @classmethod
    def _each_once(cls, values: tuple[str | int, ...]) -> tuple[str | int, ...]:
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"expected each once, {twice[0]} is named twice")
        return values

    @property
    def training_key(self) -> TrainingKey:
        """The training that `fold` and `seed` name."""
        return TrainingKey(self.fold, self.seed)

    @property
    def training_keys(self) -> tuple[TrainingKey, ...]:
        """Every training of the experiment: each fold with each seed."""
        return tuple(TrainingKey(fold, seed) for fold in self.folds for seed in self.seeds)

    @model_validator(mode="after")
    def _possible_pairs(self) -> "Config":
        if self.augmentation.flip_left_right is True and self.cohort.laterality == "relevant":
            raise ValueError("augmentation.flip_left_right=true contradicts the cohort's laterality: relevant")
        if self.augmentation.zoom is True and self.cohort.size_is_diagnostic:
            raise ValueError("augmentation.zoom=true contradicts the cohort's size_is_diagnostic: true")
        if self.training.unfreeze_every and (self.model.freeze or self.model.lora):
            raise ValueError("training.unfreeze_every contradicts model.freeze and model.lora: both keep weights")
        if self.training.strategy == "fsdp" and self.model.lora is not None:
            raise ValueError("training.strategy=fsdp divides weights that all learn, model.lora keeps most as they are")
        if self.training.sampling == "balanced" and self.cohort.task == "multilabel":
            raise ValueError("training.sampling=balanced needs one class per scan, the cohort's task is multilabel")
        return self
