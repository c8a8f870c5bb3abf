"""Plan: decide how scans are prepared and models trained, each line with its reason.

Reads   cohort.csv, splits.csv, raw scans of the development set, an edited plan.yaml
Writes  plan.yaml
"""

from typing import Annotated

from pipeline.config import Config, cli
from pipeline.core.columns import TRAIN
from pipeline.core.paths import Artifacts


def plan(
    config: Config,
    *,
    dry_run: Annotated[bool, "only show the plan, with hours and disk from a short probe of this machine"] = False,
) -> None:
    """Write plan.yaml; lines that were edited by hand in an earlier one are kept and marked."""
    from pipeline.cohorts.label_table import read_cohort
    from pipeline.core.folds import read_splits, rows_of_fold
    from pipeline.planning.cost import local_machine
    from pipeline.planning.plan_file import log_plan, write_plan
    from pipeline.planning.planner import replan

    paths = Artifacts(config.root).cohort(config.cohort.name)
    table, splits = read_cohort(paths.cohort), read_splits(paths.splits)
    planned = replan(config.cohort, table, splits, paths.raw, paths.plan, local_machine())
    log_plan(planned)
    if dry_run:
        from pipeline.training.cost_estimate import forecast_here

        forecast_here(config, planned, num_scans=len(rows_of_fold(splits, config.fold)[TRAIN]))
    else:
        write_plan(paths.plan, planned)


if __name__ == "__main__":
    cli.run(plan)
