"""Runs: every training of a cohort beside the others, without a server.

Reads   runs/<cohort>/
Writes  nothing; prints
"""

import sys
from pathlib import Path
from typing import Annotated

from pipeline.config import Config, cli
from pipeline.core.paths import Artifacts, FoldPaths

LINE_WIDTH = 140


def runs(config: Config) -> None:
    """List the trainings of a cohort: how they stand, what differs in their configs, figures with intervals, size."""
    from rich.console import Console

    from pipeline.tracking.runs_table import details, find_runs, runs_table

    found = find_runs(Artifacts(config.root), config.cohort.name)
    # A terminal has its own width; a file or a pipe gets whole lines.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else LINE_WIDTH)
    console.print(runs_table(found))
    for line in details(found):
        console.print(line, soft_wrap=True, markup=False)


def run_of_model(
    *, model: Annotated[Path, "a best.ckpt, wherever it lies now; prints its W&B run and its experiment"]
) -> None:
    """Tell which run a model file comes from."""
    from rich.console import Console

    from pipeline.tracking.results import key_of
    from pipeline.tracking.step_log import run_id_from
    from pipeline.training.checkpoint import TrainedCheckpoint

    trained = TrainedCheckpoint.read(model)
    config, key = trained.config, key_of(trained)
    # A trial of a sweep has another id than its key; the record beside the model knows it, and the run has the key.
    run_id = run_id_from(FoldPaths(model.parent).tracking, key)
    Console(soft_wrap=True, highlight=False).print(
        f"run {run_id} (config.key {key}) of project {config['tracking']['project']}: {config['name']} on "
        f"{config['cohort']['name']}, fold {config['fold']}, epoch {trained.epoch}"
    )


if __name__ == "__main__":
    cli.run(runs, model=run_of_model)
