"""What will be sent of trainings that have not ended yet: their configs, and the names of the figures to come."""

from pipeline.config import Config
from pipeline.core.paths import Artifacts
from pipeline.tracking.contents import Parcel
from pipeline.tracking.naming import fold_parcel
from pipeline.tracking.settings import config_of, names_of

NOT_YET = "(made when training begins)"


def is_finished(config: Config) -> bool:
    """Is everything there that `track` sends?"""
    runs = [Artifacts(config.root).run(config.cohort.name, name) for name in names_of(config)]
    return all(run.metrics.is_file() and run.fold(fold).best.is_file() for run in runs for fold in config.folds)


def forecast(config: Config) -> list[Parcel]:
    """A parcel for each training, empty but for its config; what says `auto` there is settled when training begins."""
    configs = [config_of(config, name, fold) for name in names_of(config) for fold in config.folds]
    return [fold_parcel(own, NOT_YET, NOT_YET) for own in configs]
