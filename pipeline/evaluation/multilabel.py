"""Several labels a scan, each present or absent: a question with two answers for each, and their unweighted mean.

A table has independent probabilities, and in `label` the present classes joined by `;`, or `none`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.columns import LABEL, LABEL_SEPARATOR, PROB_PREFIX
from pipeline.evaluation.evaluating import Evaluation, Metrics, evaluate_table
from pipeline.evaluation.fitted.pooling import PATIENT, SCAN
from pipeline.evaluation.metrics import calibration, decisions, discrimination
from pipeline.evaluation.precision.bootstrap import Figure, resamples
from pipeline.evaluation.precision.catalogue import Metric, every_row, is_right
from pipeline.evaluation.precision.estimates import Entry, Estimate, estimate_metrics
from pipeline.evaluation.precision.intervals import percentile_interval
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.background import Background
from pipeline.evaluation.tables.predictions import check_predictions, class_names, prob_columns
from pipeline.evaluation.tables.sample import Array, Sample

OF_LABEL = "of_label"
AVERAGED: dict[str, Figure] = {
    "auroc": discrimination.auroc,
    "average_precision": discrimination.average_precision,
    "accuracy": decisions.accuracy,
    "majority_floor": decisions.majority_floor,
    "balanced_accuracy": decisions.balanced_accuracy,
    "sensitivity": decisions.sensitivity,
    "specificity": decisions.specificity,
    "f1": decisions.f1,
    "mcc": decisions.mcc,
    "brier_score": calibration.brier_score,
}
"""Figures whose mean over the labels is reported."""


def evaluate_labels(predictions: pd.DataFrame, settings: Settings, background: Background | None = None) -> Evaluation:
    """Each label judged by itself, their figures named `<metric>_<label>`, and the means over all labels."""
    table = check_predictions(predictions, several_labels=True)
    labels = {
        name: evaluate_table(one_label(table, name), settings, about_label(background, name))
        for name in class_names(table)
    }
    any_label = next(iter(labels.values()))
    return Evaluation(
        metrics=all_metrics(labels, settings),
        frozen={level: {name: label.frozen[level] for name, label in labels.items()} for level in (SCAN, PATIENT)},
        headline=any_label.headline,
        plots={plot: joined({name: label.plots[plot] for name, label in labels.items()}) for plot in any_label.plots},
        models=joined({name: label.models for name, label in labels.items()}),
        subgroups=named({name: label.subgroups for name, label in labels.items()}, "covariate"),
        floors=named({name: label.floors for name, label in labels.items()}, "name"),
        judged={},
    )


def one_label(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The question whether the label is present, as a table of two classes."""
    prob, kept = table[PROB_PREFIX + name], table.drop(columns=prob_columns(table))
    probs = {PROB_PREFIX + absent(name): 1 - prob, PROB_PREFIX + name: prob}
    return kept.assign(**{LABEL: presence(table[LABEL], name)}, **probs)


def absent(name: str) -> str:
    return f"no {name}"


def presence(labels: pd.Series, name: str) -> pd.Series:
    """The name where it is among the joined labels, else that it is absent."""
    return labels.map(lambda label: name if name in label.split(LABEL_SEPARATOR) else absent(name))


def about_label(background: Background | None, name: str) -> Background | None:
    """The background with this label alone to learn a floor from."""
    if background is None or background.splits is None:
        return background
    labels = presence(background.splits[LABEL], name)
    return replace(background, splits=background.splits.assign(**{LABEL: labels}))


def joined(tables: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame | None:
    """One table with a column that names the label; None where no label has one."""
    parts = [table.assign(**{OF_LABEL: name}) for name, table in tables.items() if table is not None]
    return pd.concat(parts, ignore_index=True) if parts else None


def named(tables: Mapping[str, pd.DataFrame | None], column: str) -> pd.DataFrame | None:
    """One table, the label written before the names in `column`."""
    parts = [
        table.assign(**{column: [f"{name}: {value}" for value in table[column]]})
        for name, table in tables.items()
        if table is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else None


def all_metrics(labels: Mapping[str, Evaluation], settings: Settings) -> Metrics:
    splits = next(iter(labels.values())).metrics
    return {
        split: {
            level: means(labels, split, level, settings)
            | {
                f"{metric}_{name}": entry
                for name, label in labels.items()
                for metric, entry in label.metrics[split][level].items()
            }
            for level in levels
        }
        for split, levels in splits.items()
    }


def means(labels: Mapping[str, Evaluation], split: str, level: str, settings: Settings) -> dict[str, Entry]:
    """The mean of each figure over the labels; undefined where it is for any."""
    entries = {name: label.metrics[split][level] for name, label in labels.items()}
    samples = [label.judged[level][split].sample for label in labels.values() if split in label.judged[level]]
    is_whole = len(samples) == len(labels)
    resampled = resampled_means(samples, settings) if is_whole else {}
    found = {
        metric: mean_of({name: entry[metric] for name, entry in entries.items()}, resampled.get(metric), settings)
        for metric in AVERAGED
    }
    if is_whole:
        found |= exact_match(samples, settings)
    return {name: estimate.entry() for name, estimate in found.items()}


def mean_of(entries: Mapping[str, Entry], resampled: Array | None, settings: Settings) -> Estimate:
    num_patients = max(entry["num_patients"] for entry in entries.values())
    without_value = [f"{name}: {entry['reason']}" for name, entry in entries.items() if entry["value"] is None]
    if without_value:
        return Estimate(None, None, None, num_patients, without_value[0])
    value = float(np.mean([entry["value"] for entry in entries.values()]))
    without_range = [f"{name}: {entry['reason']}" for name, entry in entries.items() if entry["low"] is None]
    if without_range or resampled is None:
        return Estimate(value, None, None, num_patients, without_range[0] if without_range else "no labels in common")
    found = percentile_interval(resampled, settings.confidence)
    if isinstance(found, str):
        return Estimate(value, None, None, num_patients, found)
    return Estimate(value, *found, num_patients)


def resampled_means(samples: list[Sample], settings: Settings) -> dict[str, Array]:
    """(R,) of each figure; every resample draws the same patients for all labels."""
    blocks = [
        {
            name: np.mean([figure(sample.weighted(weighted.weights)) for sample in samples], axis=0)
            for name, figure in AVERAGED.items()
        }
        for weighted in resamples(by_pattern(samples), settings.num_bootstrap, settings.seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in AVERAGED}


def by_pattern(samples: list[Sample]) -> Sample:
    """The rows with their combination of labels as the class, for strata."""
    first = samples[0]
    codes = np.unique(np.stack([sample.labels for sample in samples], 1), axis=0, return_inverse=True)[1].ravel()
    names = tuple(f"pattern {code}" for code in range(codes.max() + 1))
    return Sample(codes, np.zeros((len(codes), len(names))), first.patients, first.folds, names)


def exact_match(samples: list[Sample], settings: Settings) -> dict[str, Estimate]:
    """Share of rows with every label called right."""
    hits = np.all([is_right(sample) for sample in samples], axis=0)
    metric = Metric(lambda weighted: weighted.mean(hits.astype(float)), lambda _: hits, every_row)
    return estimate_metrics(samples[0], {"exact_match": metric}, settings)
