"""Runs: a table of all trainings of a cohort, without a server.

Reads   runs/<cohort>/
Writes  nothing; prints
"""

import sys
from pathlib import Path
from typing import Annotated

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts, TrainingPaths

LINE_WIDTH = 140


def runs(config: Config) -> None:
    """List the trainings of a cohort: status, differences between their configs, metrics with intervals, size."""
    from rich.console import Console

    from pipeline.tracking.runs_table import details, find_runs, runs_table

    found = find_runs(Artifacts(config.root), config.cohort.name)
    # A terminal has its own width; a file or a pipe gets whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LINE_WIDTH)
    console.print(runs_table(found))
    for line in details(found):
        console.print(line, soft_wrap=True, markup=False)


def identify(checkpoint: Annotated[Path, "a best.ckpt, in any folder"]) -> None:
    """Print the W&B run and the experiment that a checkpoint comes from."""
    from rich.console import Console

    from pipeline.tracking.step_log import find_run_id
    from pipeline.training.checkpoint import TrainedCheckpoint

    trained = TrainedCheckpoint.read(checkpoint)
    config, key = trained.config, trained.key
    # The id of a trial of a sweep is not its key; the record beside the checkpoint has the id.
    run_id = find_run_id(TrainingPaths(checkpoint.parent).tracking, key)
    Console(soft_wrap=True, highlight=False).print(
        f"run {run_id} (config.key {key}) of project {config['tracking']['project']}: {config['name']} on "
        f"{config['cohort']['name']}, fold {config['fold']}, epoch {trained.epoch}"
    )


if __name__ == "__main__":
    cli.run(runs, identify=identify)
