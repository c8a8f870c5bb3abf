"""Metrics of each fold's and seed's model, and of each cut of ordinal classes."""

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, SEED
from pipeline.evaluation.predictions import MODEL, average_folds
from pipeline.evaluation.registry import catalogue, ranking_metrics
from pipeline.evaluation.sample import Sample, from_positive, sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Estimate, estimate_metrics

SHOWN = ("auroc", "average_precision", "brier_score")
"""Figures that need no threshold, which is chosen for all models together."""
ALL = "all"
TOGETHER = "folds "
"""How the name of an outer part or repeat begins, before its folds."""


def judge_models(units: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """A row a model and figure; with several seeds a row more for each seed's folds together, its fold `all`."""
    parts = [row_of(rows, seed, fold, settings) for (seed, fold), rows in units.groupby(MODEL)]
    if units[SEED].nunique() > 1 and units[FOLD].nunique() > 1:
        parts += [row_of(average_folds(rows), seed, ALL, settings) for seed, rows in units.groupby(SEED)]
    return pd.DataFrame([row for part in parts for row in part])


def row_of(rows: pd.DataFrame, seed: int, fold: int | str, settings: Settings) -> list[dict[str, object]]:
    sample = sample_of(rows)
    metrics = {name: metric for name, metric in catalogue(sample, settings).items() if name in SHOWN}
    estimates: dict[str, Estimate] = estimate_metrics(sample, metrics, settings)
    return [{SEED: seed, FOLD: fold, "metric": name, **found.entry()} for name, found in estimates.items()]


def spread(models: pd.DataFrame, by: str, metric: str = "auroc") -> tuple[float, float, float] | None:
    """Lowest, highest and standard deviation of the figure over seeds or folds; None with fewer than two."""
    rows = models[(models["metric"] == metric) & ~models[FOLD].astype(str).str.startswith(TOGETHER)]
    if by == SEED and (rows[FOLD] == ALL).any():
        rows = rows[rows[FOLD] == ALL]
    values = rows.groupby(by)["value"].mean().dropna().to_numpy()
    if rows[by].nunique() < 2 or len(values) < 2:
        return None
    return float(values.min()), float(values.max()), float(np.std(values, ddof=1))


def cut(sample: Sample, grade: int) -> Sample:
    """`grade` or above, against what is below."""
    names = (f"below {sample.class_names[grade]}", f"{sample.class_names[grade]} or above")
    return from_positive(sample, sample.labels >= grade, sample.probs[:, grade:].sum(1), names)


def judge_cuts(sample: Sample, settings: Settings) -> dict[str, Estimate]:
    """AUROC of each cut, as `auroc_from_<grade>`."""
    auroc = {"auroc": ranking_metrics(ranked_class=1)["auroc"]}
    return {
        f"auroc_from_{sample.class_names[grade]}": estimate_metrics(cut(sample, grade), auroc, settings)["auroc"]
        for grade in range(1, sample.num_classes)
    }
