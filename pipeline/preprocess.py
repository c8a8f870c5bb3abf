"""Preprocess: bring every scan of the cohort into the network's space.

Reads   cohort.csv, plan.yaml, raw scans
Writes  data/<cohort>/preprocessed/, one NIfTI per scan and manifest.json
"""

import logging
from typing import Annotated

from pipeline.config import Config, Plan
from pipeline.core import cli
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def preprocess(
    config: Config,
    *,
    workers: Annotated[int | None, "processes on this machine (default: one per CPU)"] = None,
    scheduler: Annotated[
        str | None, "address of a Dask scheduler, such as tcp://host:8786, to work there instead"
    ] = None,
) -> None:
    """Prepare the scans that are new or whose file, plan or code changed."""
    from pipeline.cohorts.label_table import read_cohort
    from pipeline.config.load import load_yaml
    from pipeline.core.counts import format_rows
    from pipeline.core.parallel import available_cpus
    from pipeline.store.build import preprocess_cohort
    from pipeline.store.store import Store

    paths = Artifacts(config.root).cohort(config.cohort.name)
    plan = load_yaml(Plan, paths.plan)
    check_augmentation(config)
    workers = workers or available_cpus()
    cohort, store = read_cohort(paths.cohort), Store(paths.preprocessed)
    preprocess_cohort(cohort, paths.raw, plan, store, workers=workers, scheduler=scheduler)
    log.info("preprocess: %s in %s", format_rows(cohort), store.folder)


def check_augmentation(config: Config) -> None:
    """ValueError for a transform by name that training could not build: here, before hours of preprocessing.

    No earlier stage imports MONAI, and this one only does so for a config that names one.
    """
    extra = config.augmentation.extra
    if extra:
        from pipeline.imaging.extra_transforms import build_extra, own_names

        build_extra(extra, own_names(extra), where="augmentation.extra")


if __name__ == "__main__":
    cli.run(preprocess)
