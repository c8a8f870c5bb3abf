"""What `track` would send: its payloads before training, and a printed list of everything in them."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Console

from pipeline.config.experiments import Experiments
from pipeline.core.paths import Artifacts
from pipeline.tracking.payload import Artifact, RunPayload, training_payload
from pipeline.tracking.step_log import LIVE_METRICS

NOT_YET = "(made when training begins)"
LIVE_IMAGES = ", and panels of sample slices"
MAX_ROWS = 30
"""A table of up to so many rows is printed whole."""


def is_finished(experiments: Experiments) -> bool:
    """Does everything exist that `track` sends?"""
    paths, main = Artifacts(experiments.root), experiments.main
    runs = [paths.run(main.cohort.name, name) for name in experiments.configs]
    return all(
        run.evaluation.metrics.is_file() and run.training(key).best.is_file()
        for run in runs
        for key in main.training_keys
    )


def preview_payloads(experiments: Experiments) -> list[RunPayload]:
    """A payload for each training that contains only its config; `auto` is resolved when training begins."""
    return [
        training_payload(config.model_copy(update={"fold": key.fold, "seed": key.seed}), NOT_YET, NOT_YET)
        for config in experiments.configs.values()
        for key in experiments.main.training_keys
    ]


def print_payloads(payloads: Iterable[RunPayload]) -> None:
    """Print everything that would be sent."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for payload in payloads:
        for line in format_payload(payload):
            console.print(line)


def format_payload(payload: RunPayload) -> list[str]:
    if payload.tracking.mode == "none":
        return [f"{payload.name}: nothing, tracking.mode is none"]
    lines = [
        f"{payload.name} in {payload.group}, run {payload.run_id}, project {payload.tracking.project}",
        f"  job type {payload.job_type}, tags {', '.join(payload.tags)}",
        f"  config: {', '.join(format_leaves(payload.config))}",
    ]
    if payload.job_type == "train":
        lines.append(f"  during training: {', '.join(LIVE_METRICS)}{LIVE_IMAGES * payload.tracking.log_images}")
    if payload.summary:
        lines.append(f"  {len(payload.summary)} metrics: {', '.join(format_leaves(payload.summary))}")
    for name, chart in payload.charts.items():
        lines.append(f"  chart {name}, over {name}_table: {format_shape(chart.table)}")
    for name, table in payload.tables.items():
        lines += [f"  table {name}: {format_shape(table)}", *format_rows(table)]
    lines += [f"  page {name}: {len(page) / 1e6:.1f} MB, with images" for name, page in payload.pages.items()]
    return lines + [f"  {format_artifact(artifact)}" for artifact in payload.artifacts]


def format_leaves(config: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key with its value, nested ones joined by dots."""
    found = []
    for key, value in config.items():
        is_section = isinstance(value, dict) and value
        found += format_leaves(value, f"{prefix}{key}.") if is_section else [f"{prefix}{key}={value}"]
    return found


def format_shape(table: pd.DataFrame) -> str:
    return f"{len(table)} rows of {', '.join(map(str, table.columns))}"


def format_rows(table: pd.DataFrame) -> list[str]:
    """A line per row of a small table, nothing for a large one."""
    rows = table.to_csv(index=False, header=False, lineterminator="\n").splitlines() if len(table) <= MAX_ROWS else []
    return [f"    {row}" for row in rows]


def format_artifact(artifact: Artifact) -> str:
    name = f"{'used' if artifact.is_input else 'made'} {artifact.name} ({', '.join(artifact.aliases)})"
    origin = ", ".join(format_leaves({**artifact.origin, **artifact.metadata}))
    return f"{name}: {origin}; {format_content(artifact)}"


def format_content(artifact: Artifact) -> str:
    if artifact.file is not None:
        return f"the file, {artifact.file.stat().st_size / 1e6:.1f} MB"
    if artifact.page is not None:
        return f"the page, {len(artifact.page) / 1e6:.1f} MB"
    return format_shape(artifact.table) if artifact.table is not None else "no content"
