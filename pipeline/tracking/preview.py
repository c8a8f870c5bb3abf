"""What `track` would send: its payloads before training, and a printed list of everything in them."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich.console import Console

from pipeline.config import Config, Tracking
from pipeline.config.load import load_config
from pipeline.core.paths import Artifacts, TrainingKey
from pipeline.tracking.payload import Artifact, RunPayload, training_payload
from pipeline.tracking.step_log import LIVE_METRICS

MODES = ("auto", "offline", "none")
"""From the most permissive to the strictest."""
NOT_YET = "(made when training begins)"
LIVE_IMAGES = ", and panels of sample slices"
MAX_ROWS = 30
"""A table of up to so many rows is printed whole."""


def experiment_names(config: Config) -> tuple[str, ...]:
    """The experiments that are tracked together."""
    return config.experiments or (config.name,)


def config_of(config: Config, name: str, training: TrainingKey) -> Config:
    """The config that a training of this cohort has today."""
    own = config if name == config.name else load_config(f"{name}.yaml", [f"cohort={config.cohort.name}"])
    return own.model_copy(update={"fold": training.fold, "seed": training.seed, "tracking": tracking_of(config, name)})


def tracking_of(config: Config, name: str) -> Tracking:
    """What the experiment's own file allows to be sent; overrides of this command can only restrict it."""
    if name == config.name:
        return config.tracking
    cohort = [f"cohort={config.cohort.name}"]
    own = load_config(f"{name}.yaml", cohort).tracking
    overridden = load_config(f"{name}.yaml", cohort + config.given("tracking")).tracking
    restricted = {
        "mode": strictest_mode(own.mode, overridden.mode),
        "log_images": own.log_images and overridden.log_images,
    }
    return overridden.model_copy(update=restricted)


def strictest_mode(*modes: str) -> str:
    """`none` if there are no modes."""
    return max(modes, key=MODES.index, default="none")


def is_finished(config: Config) -> bool:
    """Does everything exist that `track` sends?"""
    runs = [Artifacts(config.root).run(config.cohort.name, name) for name in experiment_names(config)]
    return all(
        run.evaluation.metrics.is_file() and run.training(key).best.is_file()
        for run in runs
        for key in config.training_keys
    )


def preview_payloads(config: Config) -> list[RunPayload]:
    """A payload for each training that contains only its config; `auto` is resolved when training begins."""
    configs = [config_of(config, name, key) for name in experiment_names(config) for key in config.training_keys]
    return [training_payload(own, NOT_YET, NOT_YET) for own in configs]


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
