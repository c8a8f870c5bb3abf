"""The experiments of a command, and what each lets leave."""

from pipeline.config import Config, Tracking
from pipeline.config.load import resolve
from pipeline.core.folds import FoldLabel

MODES = ("auto", "offline", "none")
"""From the widest to the narrowest."""


def names_of(config: Config) -> tuple[str, ...]:
    """The experiments that are tracked together."""
    return config.experiments or (config.name,)


def config_of(config: Config, name: str, fold: FoldLabel) -> Config:
    """The config that a training of this cohort has today."""
    own = config if name == config.name else resolve(f"{name}.yaml", [f"cohort={config.cohort.name}"])
    return own.model_copy(update={"fold": fold, "tracking": tracking_of(config, name)})


def tracking_of(config: Config, name: str) -> Tracking:
    """What the experiment's own config says today of what may leave; words given to this command can only narrow it."""
    if name == config.name:
        return config.tracking
    words = [f"cohort={config.cohort.name}"]
    own = resolve(f"{name}.yaml", words).tracking
    given = resolve(f"{name}.yaml", words + config.given("tracking")).tracking
    narrowed = {"mode": narrowest(own.mode, given.mode), "log_images": own.log_images and given.log_images}
    return given.model_copy(update=narrowed)


def narrowest(*modes: str) -> str:
    """`none` where there is nothing to tell of."""
    return max(modes, key=MODES.index, default="none")
