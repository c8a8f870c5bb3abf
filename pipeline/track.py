"""Track: add final metrics, charts, tables and artifacts to the W&B runs of the trainings, and one run over all.

Reads   runs/<cohort>/, reports/<cohort>/, dvc.lock; preprocessed scans if images may be sent
Writes  tracking/<cohort>.json: what was sent, under which run ids
"""

import logging
from pathlib import Path
from typing import Annotated

from pipeline.config import Config
from pipeline.config.experiments import Experiments
from pipeline.core import cli
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def track(experiments: Experiments) -> int | None:
    """Complete the W&B runs of every training, offline unless a key is configured."""
    from pipeline.tracking.collect import collect_payloads
    from pipeline.tracking.sync import last_steps, send

    paths = Artifacts(experiments.root)
    record = paths.tracking(experiments.main.cohort.name)
    return send(collect_payloads(experiments, last_steps(record)), paths.wandb, record)


def preview(experiments: Experiments) -> None:
    """List everything that track would send, and send nothing."""
    from pipeline.tracking.collect import collect_payloads
    from pipeline.tracking.preview import is_finished, preview_payloads, print_payloads
    from pipeline.tracking.sync import last_steps

    record = Artifacts(experiments.root).tracking(experiments.main.cohort.name)
    finished = is_finished(experiments)
    print_payloads(collect_payloads(experiments, last_steps(record)) if finished else preview_payloads(experiments))


def save_report_layout(project: Annotated[str, "ENTITY/PROJECT on the W&B server; needs a key"]) -> None:
    """Save a W&B report that lays out the experiments of params.yaml for reviewers."""
    from pipeline.tracking.panels import save_layout

    entity, slash, name = project.partition("/")
    if not (entity and slash and name):
        raise ValueError(f"track layout: expected ENTITY/PROJECT, got '{project}'.")
    log.info("saved as %s", save_layout(entity, name, Config.from_command_line(None, []).experiments))


def upload_offline_runs() -> int:
    """Upload the offline runs of all cohorts to the W&B server, as `make sync` does."""
    from pipeline.tracking.sync import upload_runs

    return upload_runs(Artifacts(Path(".")).wandb)


if __name__ == "__main__":
    cli.run(track, preview=preview, upload=upload_offline_runs, layout=save_report_layout)
