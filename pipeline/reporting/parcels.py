"""What the tracker gets to see of each training, gathered from files and free of ids, before anything is sent."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from pipeline.artifacts import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT, Artifacts, RunPaths
from pipeline.config import Config, Plan
from pipeline.files import read_json
from pipeline.resolve import check_file
from pipeline.training.resume import run_key
from pipeline.training.runfile import RunFile


@dataclass(frozen=True)
class Parcel:
    """One training's final word."""

    config: Config
    run_id: str
    summary: dict[str, Any]
    """Flat figures: `test.patient.auroc`, `test.patient.auroc.low`, …; undefined ones are left out."""
    tables: dict[str, pd.DataFrame]
    """Curves and predictions."""
    files: dict[str, Path]
    """Artifacts by kind: model, report."""


def pack(paths: Artifacts, cohort: str, experiments: Iterable[str], folds: Iterable[int]) -> list[Parcel]:
    """A parcel for every experiment and fold."""
    report = paths.report(cohort)
    return [pack_fold(paths.run(cohort, name), fold, report) for name in experiments for fold in folds]


def pack_fold(run: RunPaths, fold: int, report: Path) -> Parcel:
    files = run.fold(fold)
    config = check_file(Config, files.config)
    trained = RunFile.read(files.best)
    predictions = public_predictions(run.predictions(fold), config.tracking.project)
    curves = {path.stem: pd.read_csv(path) for path in sorted(run.plots.glob("*.csv"))}
    sent = {"model": files.best}
    if config.tracking.log_images:
        # The page shows scans and their ids.
        sent["report"] = report.parent / f"{config.name}.html"
    return Parcel(
        config=config,
        run_id=run_key(config, Plan.model_validate(trained.plan), trained.data_hash),
        summary=flatten(read_json(run.metrics)) | alarms(run.audit_summary),
        tables={**curves, "predictions": predictions},
        files=sent,
    )


def flatten(metrics: dict[str, Any]) -> dict[str, float]:
    """metrics.json as one level of names; only figures that exist."""
    flat = {}
    for split, levels in metrics.items():
        for level, figures in levels.items():
            for name, figure in figures.items():
                parts = {
                    "": figure["value"],
                    ".low": figure["low"],
                    ".high": figure["high"],
                    ".n": figure["num_patients"],
                }
                flat |= {f"{split}.{level}.{name}{end}": value for end, value in parts.items() if value is not None}
    return flat


def alarms(path: Path) -> dict[str, float]:
    """`audit.<name>`, 1 for an alarm and 0 for none; what was not judged is left out."""
    found = read_json(path) if path.is_file() else {}
    return {f"audit.{name}": alarm for name, alarm in found.items() if alarm is not None}


def public_predictions(path: Path, project: str) -> pd.DataFrame:
    """predictions.csv with stable pseudonyms for ids."""
    table = pd.read_csv(path, dtype={SCAN_ID: str, PATIENT_ID: str, LABEL: str}, keep_default_na=False)
    for column in (SCAN_ID, PATIENT_ID):
        table[column] = [pseudonym(name, project) for name in table[column]]
    probs = [column for column in table.columns if column.startswith(PROB_PREFIX)]
    table["is_right"] = table[probs].idxmax(axis=1).str.removeprefix(PROB_PREFIX) == table[LABEL]
    return table[[SCAN_ID, PATIENT_ID, FOLD, SPLIT, LABEL, *probs, "is_right"]]


def pseudonym(name: str, project: str) -> str:
    """A stable stand-in for an id: the same id has the same one throughout a project."""
    return hashlib.blake2s(name.encode(), key=project.encode()[:32], digest_size=6).hexdigest()


def list_contents(parcels: list[Parcel]) -> None:
    """Print all that would be sent."""
    console = Console(soft_wrap=True)
    for parcel in parcels:
        console.print(
            f"[bold]{parcel.config.cohort.name} {parcel.config.name} fold {parcel.config.fold}[/] run {parcel.run_id}"
        )
        console.print(f"  {len(parcel.summary)} figures: {', '.join(parcel.summary)}")
        for name, table in parcel.tables.items():
            console.print(f"  table {name}: {len(table)} rows of {', '.join(table.columns)}")
        for kind, path in parcel.files.items():
            console.print(f"  {kind} {path.name}: {path.stat().st_size / 1e6:.1f} MB")
