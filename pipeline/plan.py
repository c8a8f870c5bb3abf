"""Plan: decide how scans are prepared and models trained, each line with its reason.

Reads   cohort.csv, splits.csv, raw scans of the development set, an edited plan.yaml
Writes  plan.yaml
"""

import logging

from pipeline.config import Config, Plan
from pipeline.core import cli
from pipeline.core.columns import TRAIN
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def plan(config: Config) -> None:
    """Write plan.yaml; lines that were edited by hand in an earlier one are kept and marked."""
    from pipeline.planning.plan_file import write_plan

    path = Artifacts(config.root).cohort(config.cohort.name).plan
    write_plan(path, make_plan(config)[0])
    log.info("plan: %s", path)


def preview(config: Config) -> None:
    """Show the plan, with hours and disk from a short probe of this machine; write nothing."""
    from pipeline.training.cost_estimate import log_cost_estimate

    planned, num_scans = make_plan(config)
    log_cost_estimate(config, planned, num_scans=num_scans)


def make_plan(config: Config) -> tuple[Plan, int]:
    """The logged plan, and the number of training scans of the config's fold."""
    from pipeline.cohorts.label_table import read_cohort
    from pipeline.core.folds import read_splits, rows_of_fold
    from pipeline.planning.cost import local_machine
    from pipeline.planning.plan_file import log_plan
    from pipeline.planning.planner import replan

    paths = Artifacts(config.root).cohort(config.cohort.name)
    table, splits = read_cohort(paths.cohort), read_splits(paths.splits)
    planned = replan(config.cohort, table, splits, paths.raw, paths.plan, local_machine())
    log_plan(planned)
    return planned, len(rows_of_fold(splits, config.fold)[TRAIN])


if __name__ == "__main__":
    cli.run(plan, preview=preview)
