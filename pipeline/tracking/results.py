"""What the evaluation of an experiment tells the tracker, read from the files that DVC keeps, number by number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.config import Config, Plan
from pipeline.config.load import check_file
from pipeline.core.io import read_json
from pipeline.core.paths import FoldPaths, RunPaths
from pipeline.evaluation.outputs import read_metrics
from pipeline.tracking.payload import Chart
from pipeline.tracking.step_log import run_id_from
from pipeline.training.checkpoint import TrainedCheckpoint
from pipeline.training.provenance import run_key

CHARTS = {
    "roc": "ROC",
    "precision_recall": "precision and recall",
    "calibration": "calibration",
    "confusion": "confusion at the threshold frozen on validation",
}
TABLES = ("subgroups", "floors")


@dataclass(frozen=True)
class Results:
    """Figures, charts and tables of one experiment, all folds together."""

    summary: dict[str, Any]
    charts: dict[str, Chart]
    tables: dict[str, pd.DataFrame]


def read_results(run: RunPaths) -> Results:
    metrics = read_metrics(run.metrics)
    tables = {"metrics": metrics_table(metrics)}
    tables |= {name: table for name in TABLES if len(table := pd.read_csv(getattr(run, name)))}
    summary: dict[str, Any] = flatten(metrics)
    if run.audits.is_file():
        tables["audits"] = audits_table(read_json(run.audits))
        summary |= {f"audits/{row['audit']}": row["verdict"] for row in tables["audits"].to_dict("records")}
    return Results(summary, read_charts(run), tables)


def read_charts(run: RunPaths) -> dict[str, Chart]:
    """One for each plot table that has points; which patients it shows stands in its title."""
    charts = {}
    for kind, title in CHARTS.items():
        path = run.plots / f"{kind}.csv"
        if path.is_file() and len(table := pd.read_csv(path)):
            shown = f"{table['split'].iloc[0]}, by {table['level'].iloc[0]}"
            charts[f"charts/{kind}"] = Chart(kind, table, f"{title} ({shown})")
    return charts


def flatten(metrics: dict[str, Any]) -> dict[str, float]:
    """metrics.json as one level of names; only figures that exist."""
    flat = {}
    for split, levels in metrics.items():
        for level, figures in levels.items():
            for name, figure in figures.items():
                parts = {
                    "": figure["value"],
                    "/low": figure["low"],
                    "/high": figure["high"],
                    "/num_patients": figure["num_patients"],
                }
                flat |= {f"{split}/{level}/{name}{end}": value for end, value in parts.items() if value is not None}
    return flat


def metrics_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """A row a figure, undefined ones with their reason."""
    rows = [
        {"split": split, "level": level, "metric": name, **figure}
        for split, levels in metrics.items()
        for level, figures in levels.items()
        for name, figure in figures.items()
    ]
    return pd.DataFrame(rows).astype(object).where(lambda table: table.notna(), None)


def audits_table(audits: dict[str, Any]) -> pd.DataFrame:
    """Verdicts alone: the figures behind them may name scans."""
    rows = [{"audit": name, "verdict": found["verdict"], "alarm": found["is_alarm"]} for name, found in audits.items()]
    return pd.DataFrame(rows, columns=["audit", "verdict", "alarm"], dtype=object)


def cost_of(steps: pd.DataFrame, *, assumed_watts: float) -> dict[str, float]:
    """Hours, peak memory and an estimate of the energy from an assumed draw, by the rows of steps.csv."""
    if steps.empty:
        return {}
    hours = float(steps["elapsed_seconds"].iloc[-1]) / 3600
    return {
        "cost/hours": hours,
        "cost/peak_memory_mb": float(steps["memory_mb"].max()),
        "cost/assumed_watts": assumed_watts,
        "cost/energy_kwh_estimate": hours * assumed_watts / 1000,
    }


@dataclass(frozen=True)
class Trained:
    """One fold of an experiment."""

    config: Config
    run_id: str
    """Of its W&B run."""
    key: str
    score: float
    """The monitored validation figure of its best epoch."""
    files: FoldPaths

    @property
    def goodness(self) -> float:
        """The score, turned so that more is better."""
        return -self.score if self.config.training.monitor == "loss" else self.score


def read_trained(files: FoldPaths) -> Trained:
    trained = TrainedCheckpoint.read(files.best)
    key = key_of(trained)
    return Trained(check_file(Config, files.config), run_id_from(files.tracking, key), key, trained.score, files)


def key_of(trained: TrainedCheckpoint) -> str:
    """The key of the training that a model file comes from, wherever the file lies now."""
    config = Config.model_validate(trained.config)
    return run_key(config, Plan.model_validate(trained.plan), trained.data_hash)


def best_of(trainings: Sequence[Trained]) -> Trained:
    """The training that validates best; of equal ones the first."""
    return max(trainings, key=lambda trained: trained.goodness)
