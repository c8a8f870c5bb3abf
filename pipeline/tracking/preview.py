"""What would be sent, what was sent, and sending it."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from pipeline.config import Config, Tracking
from pipeline.config.load import resolve
from pipeline.core.folds import FoldLabel
from pipeline.core.io import read_json, write_json
from pipeline.core.paths import Artifacts
from pipeline.tracking.payload import Artifact, Parcel, fold_parcel
from pipeline.tracking.step_log import LIVE_NAMES
from pipeline.tracking.sync import last_step, parts_of
from pipeline.tracking.wandb_run import open_run

MODES = ("auto", "offline", "none")
"""From the widest to the narrowest."""


def names_of(config: Config) -> tuple[str, ...]:
    """The experiments that are tracked together."""
    return config.experiments or (config.name,)


def config_of(config: Config, name: str, fold: FoldLabel) -> Config:
    """The config that a training of this cohort has today."""
    own = config if name == config.name else resolve(f"{name}.yaml", [f"cohort={config.cohort.name}"])
    return own.model_copy(update={"fold": fold, "tracking": tracking_of(config, name)})


def tracking_of(config: Config, name: str) -> Tracking:
    """What the experiment's own config says today of what may leave; words given to this command can only narrow it."""
    if name == config.name:
        return config.tracking
    words = [f"cohort={config.cohort.name}"]
    own = resolve(f"{name}.yaml", words).tracking
    given = resolve(f"{name}.yaml", words + config.given("tracking")).tracking
    narrowed = {"mode": narrowest(own.mode, given.mode), "log_images": own.log_images and given.log_images}
    return given.model_copy(update=narrowed)


def narrowest(*modes: str) -> str:
    """`none` where there is nothing to tell of."""
    return max(modes, key=MODES.index, default="none")


NOT_YET = "(made when training begins)"


def is_finished(config: Config) -> bool:
    """Is everything there that `track` sends?"""
    runs = [Artifacts(config.root).run(config.cohort.name, name) for name in names_of(config)]
    return all(run.metrics.is_file() and run.fold(fold).best.is_file() for run in runs for fold in config.folds)


def forecast(config: Config) -> list[Parcel]:
    """A parcel for each training, empty but for its config; what says `auto` there is settled when training begins."""
    configs = [config_of(config, name, fold) for name in names_of(config) for fold in config.folds]
    return [fold_parcel(own, NOT_YET, NOT_YET) for own in configs]


LIVE_PICTURES = ", and panels of sample slices"
SMALL = 30
"""Rows up to which a table is shown whole."""


def list_contents(parcels: Iterable[Parcel]) -> None:
    """Print all that would be sent."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for parcel in parcels:
        for line in lines_of(parcel):
            console.print(line)


def lines_of(parcel: Parcel) -> list[str]:
    if parcel.tracking.mode == "none":
        return [f"{parcel.name}: nothing, tracking.mode is none"]
    lines = [
        f"{parcel.name} in {parcel.group}, run {parcel.run_id}, project {parcel.tracking.project}",
        f"  job type {parcel.job_type}, tags {', '.join(parcel.tags)}",
        f"  config: {', '.join(leaves(parcel.config))}",
    ]
    if parcel.job_type == "train":
        lines.append(f"  while it trains: {', '.join(LIVE_NAMES)}{LIVE_PICTURES * parcel.tracking.log_images}")
    if parcel.summary:
        lines.append(f"  {len(parcel.summary)} figures: {', '.join(leaves(parcel.summary))}")
    for name, chart in parcel.charts.items():
        lines.append(f"  chart {name}, over {name}_table: {describe(chart.table)}")
    for name, table in parcel.tables.items():
        lines += [f"  table {name}: {describe(table)}", *rows_of(table)]
    lines += [f"  page {name}: {len(page) / 1e6:.1f} MB, with pictures" for name, page in parcel.pages.items()]
    return lines + [f"  {describe_artifact(artifact)}" for artifact in parcel.artifacts]


def leaves(config: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key with its value, nested ones joined by dots."""
    found = []
    for key, value in config.items():
        is_section = isinstance(value, dict) and value
        found += leaves(value, f"{prefix}{key}.") if is_section else [f"{prefix}{key}={value}"]
    return found


def describe(table: pd.DataFrame) -> str:
    return f"{len(table)} rows of {', '.join(map(str, table.columns))}"


def rows_of(table: pd.DataFrame) -> list[str]:
    """A line a row of a small table."""
    rows = table.to_csv(index=False, header=False, lineterminator="\n").splitlines() if len(table) <= SMALL else []
    return [f"    {row}" for row in rows]


def describe_artifact(artifact: Artifact) -> str:
    what = f"{'used' if artifact.is_input else 'made'} {artifact.name} ({', '.join(artifact.aliases)})"
    told = ", ".join(leaves({**artifact.origin, **artifact.metadata}))
    return f"{what}: {told}; {content_of(artifact)}"


def content_of(artifact: Artifact) -> str:
    if artifact.file is not None:
        return f"the file, {artifact.file.stat().st_size / 1e6:.1f} MB"
    if artifact.page is not None:
        return f"the page, {len(artifact.page) / 1e6:.1f} MB"
    return describe(artifact.table) if artifact.table is not None else "no content"


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
