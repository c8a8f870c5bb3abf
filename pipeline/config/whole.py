"""An experiment and a cohort together: what a stage gets."""

from collections.abc import Iterable
from pathlib import Path

from pydantic import NonNegativeInt, PrivateAttr, model_validator

from pipeline.config.cohort import Cohort
from pipeline.config.experiment import Augmentation, Evaluation, Explanation, Model, Tracking, Training
from pipeline.config.section import FoldName, Name, Section
from pipeline.core.folds import parse_fold
from pipeline.core.paths import OTHER_PAGES


class Config(Section):
    """All that a stage may read."""

    name: Name
    """The experiment: its file's name."""
    cohort: Cohort
    """The cohort's own file; on the command line `cohort=NAME` picks it and `cohort.split.num_folds=3` changes it."""
    fold: FoldName = 0
    """Which fold validates, from 0; `0-seed-1` trains fold 0 once more, with the next seed."""
    folds: tuple[FoldName, ...] = (0,)
    """Folds that are trained, from params.yaml, such as [0, 1] or [0, 0-seed-1, 0-seed-2]."""
    experiments: tuple[Name, ...] = ()
    """Experiments that are compared, from params.yaml."""
    seed: NonNegativeInt = 0
    """Initial weights, order and augmentation."""
    model: Model
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    tracking: Tracking = Tracking()
    root: Path = Path(".")
    """Folder that holds data/, runs/ and reports/."""
    _given: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _own_pages(self) -> "Config":
        for name in (self.name, *self.experiments):
            if name in OTHER_PAGES:
                raise ValueError(f"an experiment cannot be named '{name}': that is a page of the report; rename it")
        return self

    def remember(self, given: Iterable[str]) -> "Config":
        """The same config, which knows the words of the command line that changed keys of it."""
        config = self.model_copy()
        config._given = tuple(given)
        return config

    def given(self, section: str) -> list[str]:
        """The words of the command line that changed keys of a section."""
        return [word for word in self._given if word.startswith(f"{section}.")]

    @property
    def fold_number(self) -> int:
        """The fold of splits.csv."""
        return parse_fold(self.fold)[0]

    @property
    def fold_seed(self) -> int:
        """The seed of this training: the experiment's own, or one further for each repeat."""
        return self.seed + parse_fold(self.fold)[1]

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
            raise ValueError("training.sampling=balanced needs one class a scan, the cohort's task is multilabel")
        return self
