"""Track: add final figures, charts, tables and artifacts to the W&B runs of the trainings, and one run over all.

Reads   runs/<cohort>/, reports/<cohort>/, dvc.lock; preprocessed scans where pixels may leave
Writes  tracking/<cohort>.json: what was sent, under which run ids
"""

from typing import Annotated

from pipeline import stage
from pipeline.artifacts import Artifacts
from pipeline.config import Config


def track(config: Config, *, dry_run: Annotated[bool, "list what would be sent, and send nothing"] = False) -> None:
    """Complete the W&B runs of every experiment and fold, offline unless a key is configured."""
    from pipeline.tracking.packing import pack
    from pipeline.tracking.sending import last_steps, list_contents, send

    record = Artifacts(config.root).tracking(config.cohort.name)
    parcels = pack(config, last_steps(record))
    if dry_run:
        list_contents(parcels)
    else:
        send(parcels, config.root, record)


if __name__ == "__main__":
    stage.run(track)
