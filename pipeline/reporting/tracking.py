"""The one door to Weights & Biases: offline without a key, private by default, never in the way of the work."""

import logging
import netrc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

from pipeline.config import Config
from pipeline.files import write_json
from pipeline.reporting.parcels import Parcel
from pipeline.training.processes import is_first

log = logging.getLogger(__name__)
HOST = "api.wandb.ai"


def has_key() -> bool:
    """Is a W&B key configured, in the environment or in netrc?"""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def public_config(config: Config) -> dict[str, Any]:
    """The resolved config without folders and files of this machine."""
    return config.model_dump(mode="json", exclude={"root": True, "cohort": {"source": {"scans", "table"}}})


def private_settings() -> wandb.Settings:
    """Keep host, user, paths, packages, code and console where they are."""
    return wandb.Settings(
        host="",
        disable_git=True,
        disable_code=True,
        save_code=False,
        console="off",
        silent=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )


def open_run(config: Config, *, run_id: str, job_type: str) -> Any | None:
    """Start or go on with the W&B run `run_id`; None where tracking is off or the tracker fails."""
    if config.tracking.mode == "none":
        return None
    online = config.tracking.mode == "auto" and has_key()
    try:
        return wandb.init(
            id=run_id,
            resume="allow",
            dir=str(config.root),
            mode="online" if online else "offline",
            project=config.tracking.project,
            group=f"{config.cohort.name}-{config.name}",
            job_type=job_type,
            name=f"{config.name}-fold{config.fold_number}-seed{config.fold_seed}",
            tags=[config.cohort.name, config.model.name],
            config=public_config(config),
            settings=private_settings(),
        )
    # Whatever the tracker's trouble is, the work it watches goes on; history.csv holds the truth.
    except Exception as error:
        log.warning("tracking: W&B did not start (%s); going on with history.csv alone.", error)
        return None


@contextmanager
def live_logger(config: Config, *, run_id: str) -> Iterator[WandbLogger | None]:
    """A Lightning logger into the W&B run of a training, which ends with the block; of several processes one logs."""
    run = open_run(config, run_id=run_id, job_type="train") if is_first() else None
    try:
        yield WandbLogger(experiment=run, save_dir=str(config.root)) if run else None
    finally:
        if run:
            run.finish()


def send(parcels: Iterable[Parcel], record: Path) -> None:
    """Complete each training's run, and write down what went where."""
    sent = [send_parcel(parcel) for parcel in parcels]
    write_json(record, {"runs": sent})
    for entry in sent:
        log.info("%s fold %d: %s", entry["experiment"], entry["fold"], entry["state"])


def send_parcel(parcel: Parcel) -> dict[str, Any]:
    """Add figures, tables and files to one run; a failing tracker is written down, not raised."""
    config = parcel.config
    entry = {"experiment": config.name, "fold": config.fold, "run_id": parcel.run_id, "figures": len(parcel.summary)}
    run = open_run(config, run_id=parcel.run_id, job_type="track")
    if run is None:
        return {**entry, "state": "not tracked"}
    run.summary.update(parcel.summary)
    for name, table in parcel.tables.items():
        run.log({name: wandb.Table(dataframe=table)})
    for kind, path in parcel.files.items():
        run.log_artifact(as_artifact(parcel, kind, path), aliases=["latest", "best"] if kind == "model" else ["latest"])
    run.finish()
    return {**entry, "state": "offline; 'make sync' uploads it" if run.offline else "online"}


def as_artifact(parcel: Parcel, kind: str, path: Path) -> wandb.Artifact:
    """A file with the run it belongs to."""
    name = f"{parcel.config.cohort.name}-{parcel.config.name}-fold{parcel.config.fold}-{kind}"
    artifact = wandb.Artifact(name, type=kind, metadata={"run_id": parcel.run_id})
    artifact.add_file(str(path))
    return artifact
