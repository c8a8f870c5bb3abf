"""Every experiment that a command line names, each from its own file: what `track` reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.config.config import Config
from pipeline.config.tracking import Tracking

MODES = ("auto", "offline", "none")
"""Of tracking, from the one that sends most to the one that sends nothing."""


@dataclass(frozen=True)
class Experiments:
    """The experiments of params.yaml on one cohort."""

    main: Config
    """The experiment of `--config`, with its cohort, folds and seeds; all overrides apply to it."""
    configs: Mapping[str, Config]
    """Each experiment by its name, as its own file says today. Overrides of `tracking` apply to all of them."""

    @property
    def root(self) -> Path:
        return self.main.root

    @classmethod
    def from_command_line(cls, file: str | None, overrides: Sequence[str]) -> Self:
        main = Config.from_command_line(file, overrides)
        others = {name: load_other(name, main, overrides) for name in main.experiments if name != main.name}
        return cls(main, {name: others.get(name, main) for name in main.experiments or (main.name,)})

    @classmethod
    def reference(cls) -> str:
        return Config.reference()


def load_other(name: str, main: Config, overrides: Sequence[str]) -> Config:
    """Another experiment on the cohort of `main`; overrides cannot widen what its own file lets leave the machine."""
    words = [f"cohort={main.cohort.name}"]
    own = Config.from_command_line(f"{name}.yaml", words)
    given = [word for word in overrides if word.startswith("tracking.")]
    changed = Config.from_command_line(f"{name}.yaml", words + given).tracking
    return own.model_copy(update={"tracking": restrict(own.tracking, changed)})


def restrict(own: Tracking, changed: Tracking) -> Tracking:
    """The changed settings, but no more is sent than both allow."""
    mode, log_images = strictest(own.mode, changed.mode), own.log_images and changed.log_images
    return changed.model_copy(update={"mode": mode, "log_images": log_images})


def strictest(*modes: str) -> str:
    """The mode that sends least; `none` for no modes."""
    return max(modes, key=MODES.index, default="none")
