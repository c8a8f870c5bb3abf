"""Track: add final figures, charts, tables and artifacts to the W&B runs of the trainings, and one run over all.

Reads   runs/<cohort>/, reports/<cohort>/, dvc.lock; preprocessed scans where pixels may leave
Writes  tracking/<cohort>.json: what was sent, under which run ids
"""

import logging
from pathlib import Path
from typing import Annotated

from pipeline.config import Config, cli
from pipeline.config.load import resolve
from pipeline.core.paths import Artifacts


def track(
    config: Config, *, dry_run: Annotated[bool, "list what would be sent, and send nothing"] = False
) -> int | None:
    """Complete the W&B runs of every experiment and fold, offline unless a key is configured."""
    from pipeline.tracking.collect import pack
    from pipeline.tracking.preview import forecast, is_finished, last_steps, list_contents, send

    paths = Artifacts(config.root)
    record = paths.tracking(config.cohort.name)
    if dry_run:
        return list_contents(pack(config, last_steps(record)) if is_finished(config) else forecast(config))
    return send(pack(config, last_steps(record)), paths.wandb, record)


def save_report_layout(
    *, layout: Annotated[str, "ENTITY/PROJECT: save a report there that lays its runs out; needs a key"]
) -> None:
    """Save a layout for reviewers of the experiments of params.yaml on the W&B server."""
    from pipeline.tracking.layout import save_layout

    entity, slash, project = layout.partition("/")
    if not (entity and slash and project):
        raise ValueError(f"--layout: expected ENTITY/PROJECT, got '{layout}'.")
    logging.getLogger(__name__).info("saved as %s", save_layout(entity, project, resolve(None, []).experiments))


def upload_offline_runs(*, upload: Annotated[bool, "send the offline runs of all cohorts to the server"]) -> int:
    """What `make sync` does."""
    from pipeline.tracking.sync import upload_runs

    return upload_runs(Artifacts(Path(".")).wandb)


if __name__ == "__main__":
    cli.run(track, layout=save_report_layout, upload=upload_offline_runs)
