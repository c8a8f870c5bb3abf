"""Metrics of each model (fold and seed), and of each cut of ordinal classes."""

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, SEED
from pipeline.evaluation.metrics import METRICS, select_metrics
from pipeline.evaluation.predictions import MODEL, average_folds
from pipeline.evaluation.sample import Sample, from_positive, sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Estimate, estimate_metrics

SHOWN = ("auroc", "average_precision", "brier_score")
"""Metrics that need no threshold, which is chosen for all models together."""
ALL = "all"
TOGETHER = "folds "
"""First word of the name of an outer part or repeat, before its folds."""


def metrics_by_model(units: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """One row per model and metric; with several seeds also one per seed over all its folds, with fold `all`."""
    parts = [model_rows(rows, seed, fold, settings) for (seed, fold), rows in units.groupby(MODEL)]
    if units[SEED].nunique() > 1 and units[FOLD].nunique() > 1:
        parts += [model_rows(average_folds(rows), seed, ALL, settings) for seed, rows in units.groupby(SEED)]
    return pd.DataFrame([row for part in parts for row in part])


def model_rows(rows: pd.DataFrame, seed: int, fold: int | str, settings: Settings) -> list[dict[str, object]]:
    sample = sample_of(rows)
    metrics = {name: metric for name, metric in select_metrics(sample, settings).items() if name in SHOWN}
    estimates: dict[str, Estimate] = estimate_metrics(sample, metrics, settings)
    return [{SEED: seed, FOLD: fold, "metric": name, **found.entry()} for name, found in estimates.items()]


def spread(models: pd.DataFrame, by: str, metric: str = "auroc") -> tuple[float, float, float] | None:
    """Lowest, highest and standard deviation of the metric over seeds or folds; None with fewer than two."""
    rows = models[(models["metric"] == metric) & ~models[FOLD].astype(str).str.startswith(TOGETHER)]
    if by == SEED and (rows[FOLD] == ALL).any():
        rows = rows[rows[FOLD] == ALL]
    values = rows.groupby(by)["value"].mean().dropna().to_numpy()
    if rows[by].nunique() < 2 or len(values) < 2:
        return None
    return float(values.min()), float(values.max()), float(np.std(values, ddof=1))


def binary_cut(sample: Sample, grade: int) -> Sample:
    """`grade` or above, against the grades below."""
    names = (f"below {sample.class_names[grade]}", f"{sample.class_names[grade]} or above")
    return from_positive(sample, sample.labels >= grade, sample.probs[:, grade:].sum(1), names)


def metrics_by_cut(sample: Sample, settings: Settings) -> dict[str, Estimate]:
    """AUROC of each cut, as `auroc_from_<grade>`."""
    auroc = {"auroc": METRICS.get("auroc")}
    return {
        f"auroc_from_{sample.class_names[grade]}": estimate_metrics(binary_cut(sample, grade), auroc, settings)["auroc"]
        for grade in range(1, sample.num_classes)
    }
