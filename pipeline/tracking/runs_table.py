"""All trainings of a cohort as a terminal shows them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.filesize import decimal
from rich.table import Table

from pipeline.core.folds import parse_fold
from pipeline.core.io import read_json, read_yaml
from pipeline.core.paths import Artifacts, FoldPaths, RunPaths
from pipeline.evaluation.evaluate import PATIENT, SCAN
from pipeline.evaluation.outputs import has_values, read_metrics
from pipeline.reporting.text_tables import cell
from pipeline.tracking.step_log import read_record
from pipeline.tracking.sync import is_uploaded, parts_of

NO_SETTINGS = ("name", "fold", "folds", "experiments", "root", "tracking")
"""Keys of a config that say which run it is and not how it was made."""


@dataclass(frozen=True)
class Run:
    """One training."""

    name: str
    status: str
    best: str
    auroc: str
    size: int
    """Bytes of the training's folder."""
    tracked: str
    settings: dict[str, str]
    """Every key of its config, nested ones joined by dots."""


def find_runs(paths: Artifacts, cohort: str) -> list[Run]:
    """Sorted by experiment and fold; FileNotFoundError where nothing was trained."""
    folder = paths.runs(cohort)
    configs = sorted(folder.glob("*/fold-*/config.yaml"))
    if not configs:
        raise FileNotFoundError(f"{folder}: no training is there; 'python -m pipeline.train' or 'dvc repro' makes one.")
    return [read_run(RunPaths(config.parents[1]), FoldPaths(config.parent), paths.wandb) for config in configs]


def read_run(run: RunPaths, fold: FoldPaths, wandb: Path) -> Run:
    record, config = read_record(fold.tracking), read_yaml(fold.config)
    number, further = parse_fold(config["fold"])
    return Run(
        name=f"{config['name']} fold {number} seed {config['seed'] + further}",
        status=status_of(fold),
        best=best_of(fold),
        auroc=headline(run),
        size=sum(path.stat().st_size for path in fold.folder.rglob("*") if path.is_file()),
        tracked=f"{record.run_id}, {uploads(record.run_id, wandb)}" if record else "no",
        settings=settings({key: value for key, value in config.items() if key not in NO_SETTINGS}),
    )


def status_of(fold: FoldPaths) -> str:
    """What the training's record says, with the epochs done; a killed one cannot be told from a running one."""
    record = read_record(fold.tracking)
    epochs = len(pd.read_csv(fold.history)) if fold.history.is_file() else 0
    said = {"running": "running or killed", None: "unknown"}
    status = record.status if record else None
    return f"{said.get(status, status)}, {epochs} epochs"


def best_of(fold: FoldPaths) -> str:
    if not fold.best_epoch.is_file():
        return "none yet"
    best = read_json(fold.best_epoch)
    return f"{best['epoch']}: " + ", ".join(
        f"{name} {best[name]:.3f}" for name in ("val_auroc", "val_loss") if name in best
    )


def headline(run: RunPaths) -> str:
    """AUROC of the experiment, all its folds together: test where there is one, by patient where that is possible."""
    if not run.metrics.is_file():
        return "not evaluated"
    metrics = read_metrics(run.metrics)
    split = next(split for split in ("test", "val", "train") if split in metrics)
    level = PATIENT if has_values(metrics[split][PATIENT]) else SCAN
    return f"{split} {cell(metrics[split][level]['auroc'])}"


def uploads(run_id: str, folder: Path) -> str:
    """How much of a run is here alone, whichever stage wrote it."""
    parts = parts_of(folder, run_id)
    waiting = [part for part in parts if not is_uploaded(part)]
    if not parts:
        return f"nothing of it in {folder}/"
    return f"{len(waiting)} of {len(parts)} parts to upload" if waiting else "uploaded"


def settings(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        nested = isinstance(value, dict) and value
        found |= settings(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": json.dumps(value)}
    return found


def differing(runs: list[Run]) -> list[str]:
    """Keys on which the runs do not agree."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return [key for key in keys if len({run.settings.get(key) for run in runs}) > 1]


def runs_table(runs: list[Run]) -> Table:
    """A row a training."""
    table = Table(box=SIMPLE)
    for name in ("Run", "Status", "Best epoch", "AUROC of the experiment", "Size"):
        table.add_column(name, no_wrap=True)
    for run in runs:
        table.add_row(run.name, run.status, run.best, run.auroc, decimal(run.size))
    return table


def details(runs: list[Run]) -> list[str]:
    """A line a training: its W&B run, and the settings on which the trainings do not agree."""
    keys = differing(runs)
    differences = [[f"{key}={run.settings[key]}" for key in keys if key in run.settings] for run in runs]
    return [
        f"{run.name}: W&B {run.tracked}; {', '.join(found) or 'no setting of its own'}"
        for run, found in zip(runs, differences, strict=True)
    ]
