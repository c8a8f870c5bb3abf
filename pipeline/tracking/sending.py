"""Parcels on their way to W&B."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.core.io import read_json, write_json
from pipeline.tracking.contents import Parcel
from pipeline.tracking.parts import last_step, parts_of
from pipeline.tracking.tracked_run import open_run

log = logging.getLogger(__name__)
NOT_SENT = "not tracked"


def last_steps(record: Path) -> dict[str, int]:
    """The last step of each run that an earlier `track` has sent."""
    return {run_id: sent["step"] for run_id, sent in read_sent(record).items()}


def read_sent(record: Path) -> dict[str, dict[str, Any]]:
    """What was ever sent, by run."""
    return {sent["run_id"]: sent for sent in read_json(record)["runs"]} if record.is_file() else {}


def send(parcels: Iterable[Parcel], folder: Path, record: Path) -> int:
    """Complete each run below `folder` and write down what went where; 1 if one did not open that should have."""
    parcels = list(parcels)
    sent = [send_parcel(parcel, folder) for parcel in parcels]
    # Runs of other experiments and folds keep their entries: their steps go on when they are tracked again.
    runs = read_sent(record) | {entry["run_id"]: entry for entry in sent}
    write_json(record, {"runs": list(runs.values())})
    for entry in sent:
        log.info("%s: %s", entry["name"], entry["state"])
    return failures(parcels, sent)


def send_parcel(parcel: Parcel, folder: Path) -> dict[str, Any]:
    """Add a parcel to its run, after the steps that the run lacks; a failing tracker is written down, not raised."""
    logged_step = last_step(parts_of(folder, parcel.run_id))
    run = open_run(parcel, folder, goes_on=True)
    where = "offline; 'make sync' uploads it" if run.is_offline else "online"
    for step, figures in parcel.history.items():
        if step > max(logged_step, run.last_step):
            run.log(step, figures)
    run.add(parcel)
    is_sent = run.is_open
    run.finish()
    return {
        "name": parcel.name,
        "run_id": parcel.run_id,
        "step": parcel.after_step + is_sent,
        "figures": len(parcel.summary),
        "state": where if is_sent else NOT_SENT,
    }


def failures(parcels: list[Parcel], sent: list[dict[str, Any]]) -> int:
    """The exit code."""
    lost = [
        parcel.name
        for parcel, entry in zip(parcels, sent, strict=True)
        if entry["state"] == NOT_SENT and parcel.tracking.mode != "none"
    ]
    if lost:
        log.warning(
            "tracking: %s could not be sent, for the reason above; give the same command again once that is mended, "
            "or set tracking.mode=none.",
            ", ".join(lost),
        )
    return 1 if lost else 0
