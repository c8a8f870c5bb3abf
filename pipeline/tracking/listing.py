"""What would be sent, as a terminal shows it."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Console

from pipeline.tracking.contents import Artifact, Parcel
from pipeline.tracking.step_log import LIVE_NAMES

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
