"""Parcels on their way to W&B, or listed."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from pipeline.files import read_json, write_json
from pipeline.tracking.contents import Artifact, Parcel
from pipeline.tracking.step_log import LIVE_NAMES
from pipeline.tracking.wandb_run import open_run

log = logging.getLogger(__name__)
LIVE_PICTURES = ", and panels of sample slices"


def last_steps(record: Path) -> dict[str, int]:
    """The last step of each run that an earlier `track` has sent."""
    return {sent["run_id"]: sent["step"] for sent in read_json(record)["runs"]} if record.is_file() else {}


def send(parcels: Iterable[Parcel], root: Path, record: Path) -> None:
    """Complete each run, and write down what went where."""
    sent = [send_parcel(parcel, root) for parcel in parcels]
    write_json(record, {"runs": sent})
    for entry in sent:
        log.info("%s: %s", entry["name"], entry["state"])


def send_parcel(parcel: Parcel, root: Path) -> dict[str, Any]:
    """Add a parcel to its run; a failing tracker is written down, not raised."""
    run = open_run(parcel, root, goes_on=True)
    where = "offline; 'make sync' uploads it" if run.is_offline else "online"
    run.add(parcel)
    is_sent = run.is_open
    run.finish()
    return {
        "name": parcel.name,
        "run_id": parcel.run_id,
        "step": parcel.after_step + is_sent,
        "figures": len(parcel.summary),
        "state": where if is_sent else "not tracked",
    }


def list_contents(parcels: Iterable[Parcel]) -> None:
    """Print all that would be sent."""
    console = Console(soft_wrap=True, highlight=False)
    for parcel in parcels:
        if parcel.tracking.mode == "none":
            console.print(f"[bold]{parcel.name}[/]: nothing, tracking.mode is none")
            continue
        console.print(
            f"[bold]{parcel.name}[/] in {parcel.group}, run {parcel.run_id}, project {parcel.tracking.project}"
        )
        console.print(f"  config: {', '.join(leaves(parcel.config))}")
        if parcel.job_type == "train":
            console.print(f"  while it trains: {', '.join(LIVE_NAMES)}{LIVE_PICTURES * parcel.tracking.log_images}")
        console.print(f"  {len(parcel.summary)} figures: {', '.join(parcel.summary)}")
        for name, chart in parcel.charts.items():
            console.print(f"  chart {name}: {describe(chart.table)}")
        for name, table in parcel.tables.items():
            console.print(f"  table {name}: {describe(table)}")
        for name, path in parcel.pages.items():
            console.print(f"  page {name}: {path.name}, with pictures")
        for artifact in parcel.artifacts:
            console.print(f"  {'used' if artifact.is_input else 'made'} {artifact.name}: {describe_artifact(artifact)}")


def leaves(config: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key with its value, nested ones joined by dots."""
    found = []
    for key, value in config.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}={value}"]
    return found


def describe(table: pd.DataFrame) -> str:
    return f"{len(table)} rows of {', '.join(map(str, table.columns))}"


def describe_artifact(artifact: Artifact) -> str:
    where = f"DVC path {artifact.origin['dvc_path']} and hash {artifact.origin['dvc_md5'] or 'unknown'}"
    if artifact.file is not None:
        return f"{where}, and the file, {artifact.file.stat().st_size / 1e6:.1f} MB"
    return f"{where}, and {describe(artifact.table)}" if artifact.table is not None else f"{where}, no content"
