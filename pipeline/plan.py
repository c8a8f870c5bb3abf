"""Plan: decide how scans are prepared and models trained, each line with its reason.

Reads   cohort.csv, splits.csv, raw scans of the development set, an edited plan.yaml
Writes  plan.yaml
"""

import logging
from typing import Annotated

from pipeline import stage
from pipeline.artifacts import TRAIN, Artifacts
from pipeline.config import Config, Plan

log = logging.getLogger(__name__)


def plan(
    config: Config,
    *,
    dry_run: Annotated[bool, "only show the plan, with hours and disk from a short probe of this machine"] = False,
) -> None:
    """Write plan.yaml; lines edited in an earlier one are kept and shown as edited."""
    from pipeline.cohorts.cohort_files import read_cohort
    from pipeline.scans.machine import machine_at_hand
    from pipeline.scans.planning_file import show, write_plan
    from pipeline.scans.replanning import replan
    from pipeline.splits.folds import read_splits, rows_of_fold

    paths = Artifacts(config.root).cohort(config.cohort.name)
    table, splits = read_cohort(paths.cohort), read_splits(paths.splits)
    planned = replan(config.cohort, table, splits, paths.raw, paths.plan, machine_at_hand())
    show(planned)
    if dry_run:
        forecast_here(config, planned, num_scans=len(rows_of_fold(splits, config.fold)[TRAIN]))
    else:
        write_plan(paths.plan, planned)


def forecast_here(config: Config, planned: Plan, num_scans: int) -> None:
    """Log what the experiment would cost on this machine."""
    from pipeline.forecast import probe
    from pipeline.training.settle import settle

    training = settle(config.training, planned)
    settled = planned.model_copy(update={"batch_size": training.batch_size, "max_epochs": training.max_epochs})
    found = probe(config.model, settled, num_scans)
    log.info(
        "%s on %d scans: about %.2f h a fold (%.1f s an epoch), %.0f MB of memory, %.0f MB on disk",
        config.name,
        num_scans,
        found.hours_per_fold,
        found.seconds_per_epoch,
        found.memory_mb,
        found.disk_mb,
    )


if __name__ == "__main__":
    stage.run(plan)
