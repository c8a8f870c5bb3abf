"""Track: add final figures, curves, tables, model and report to the W&B runs of the trainings.

Reads   runs/<cohort>/, reports/<cohort>/
Writes  tracking/<cohort>.json: what was sent, under which run ids
"""

from typing import Annotated

from pipeline import stage
from pipeline.artifacts import Artifacts
from pipeline.config import Config


def track(config: Config, *, dry_run: Annotated[bool, "list what would be sent, and send nothing"] = False) -> None:
    """Complete the W&B runs of every experiment and fold, offline unless a key is configured."""
    from pipeline.reporting.parcels import list_contents, pack
    from pipeline.reporting.tracking import send

    paths = Artifacts(config.root)
    parcels = pack(paths, config.cohort.name, config.experiments, config.folds)
    if dry_run:
        list_contents(parcels)
    else:
        send(parcels, paths.tracking(config.cohort.name))


if __name__ == "__main__":
    stage.run(track)
