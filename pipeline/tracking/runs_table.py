"""All trainings of a cohort as a table for the terminal."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.filesize import decimal
from rich.table import Table

from pipeline.core.io import read_json, read_yaml
from pipeline.core.paths import Artifacts, RunPaths, TrainingPaths
from pipeline.core.tables import read_table
from pipeline.evaluation.evaluate import PATIENT, SCAN
from pipeline.evaluation.outputs import has_values, read_metrics
from pipeline.reporting.formatting import format_entry
from pipeline.tracking.step_log import read_record
from pipeline.tracking.wandb_files import is_synced, run_folders

IDENTITY_KEYS = ("name", "fold", "folds", "seed", "seeds", "experiments", "root", "tracking")
"""Keys of a config that identify a run and do not affect how it was trained."""


@dataclass(frozen=True)
class RunRow:
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


def find_runs(paths: Artifacts, cohort: str) -> list[RunRow]:
    """Sorted by experiment and folder; FileNotFoundError where nothing was trained."""
    folder = paths.runs(cohort)
    runs = [RunPaths(place) for place in sorted(folder.glob("*"))]
    trainings = [(run, training) for run in runs for training in run.find_trainings() if training.config.is_file()]
    if not trainings:
        raise FileNotFoundError(f"{folder}: no training found; 'python -m pipeline.train' or 'dvc repro' makes one.")
    return [read_run(run, training, paths.wandb) for run, training in trainings]


def read_run(run: RunPaths, fold: TrainingPaths, wandb: Path) -> RunRow:
    record, config = read_record(fold.tracking), read_yaml(fold.config)
    return RunRow(
        name=f"{config['name']} fold {config['fold']} seed {config['seed']}",
        status=status_of(fold),
        best=best_of(fold),
        auroc=headline(run),
        size=sum(path.stat().st_size for path in fold.folder.rglob("*") if path.is_file()),
        tracked=f"{record.run_id}, {upload_state(record.run_id, wandb)}" if record else "no",
        settings=flatten_settings({key: value for key, value in config.items() if key not in IDENTITY_KEYS}),
    )


def status_of(fold: TrainingPaths) -> str:
    """The status that the training recorded, and its number of epochs; a killed one looks like a running one."""
    record = read_record(fold.tracking)
    epochs = len(read_table(fold.history)) if fold.history.is_file() else 0
    names = {"running": "running or killed", None: "unknown"}
    status = record.status if record else None
    return f"{names.get(status, status)}, {epochs} epochs"


def best_of(fold: TrainingPaths) -> str:
    if not fold.best_epoch.is_file():
        return "not yet"
    best = read_json(fold.best_epoch)
    return f"{best['epoch']}: " + ", ".join(
        f"{name} {best[name]:.3f}" for name in ("val_auroc", "val_loss") if name in best
    )


def headline(run: RunPaths) -> str:
    """AUROC of the experiment over all its trainings: on test if there is one, by patient if possible."""
    if not run.evaluation.metrics.is_file():
        return "not evaluated"
    metrics = read_metrics(run.evaluation.metrics)
    split = next(split for split in ("test", "val", "train") if split in metrics)
    level = PATIENT if has_values(metrics[split][PATIENT]) else SCAN
    return f"{split} {format_entry(metrics[split][level]['auroc'])}"


def upload_state(run_id: str, wandb: Path) -> str:
    """How much of a run is not on the server yet, whichever stage wrote it."""
    folders = run_folders(wandb, run_id)
    waiting = [folder for folder in folders if not is_synced(folder)]
    if not folders:
        return f"no files in {wandb}/"
    return f"{len(waiting)} of {len(folders)} parts to upload" if waiting else "uploaded"


def flatten_settings(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        nested = isinstance(value, dict) and value
        found |= flatten_settings(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": json.dumps(value)}
    return found


def differing_keys(runs: list[RunRow]) -> list[str]:
    """Keys that differ between the runs."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return [key for key in keys if len({run.settings.get(key) for run in runs}) > 1]


def runs_table(runs: list[RunRow]) -> Table:
    """One row per training."""
    table = Table(box=SIMPLE)
    for name in ("Run", "Status", "Best epoch", "AUROC of the experiment", "Size"):
        table.add_column(name, no_wrap=True)
    for run in runs:
        table.add_row(run.name, run.status, run.best, run.auroc, decimal(run.size))
    return table


def details(runs: list[RunRow]) -> list[str]:
    """One line per training: its W&B run, and the settings that differ between the trainings."""
    keys = differing_keys(runs)
    differences = [[f"{key}={run.settings[key]}" for key in keys if key in run.settings] for run in runs]
    return [
        f"{run.name}: W&B {run.tracked}; {', '.join(found) or 'the same settings as the others'}"
        for run, found in zip(runs, differences, strict=True)
    ]
