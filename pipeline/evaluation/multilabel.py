"""Several labels a scan, each present or absent: a question with two answers for each, and their unweighted mean.

A table has independent probabilities, and in `label` the present classes joined by `;`, or `none`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.evaluation.covariates import Background
from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.evaluate import Evaluation, Metrics, evaluate_table
from pipeline.evaluation.one_vs_rest import about_class, joined, named, one_class
from pipeline.evaluation.predictions import check_predictions, class_names
from pipeline.evaluation.registry import Metric, catalogue, every_row, is_right
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Entry, Estimate, estimate_metrics
from pipeline.evaluation.uncertainty.repeated import Shared, estimate_means, mean_value

AVERAGED = (
    "auroc",
    "average_precision",
    "accuracy",
    "majority_floor",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "mcc",
    "brier_score",
)
"""Figures whose mean over the labels is reported."""


def evaluate_labels(predictions: pd.DataFrame, settings: Settings, background: Background | None = None) -> Evaluation:
    """Each label judged by itself, their figures named `<metric>_<label>`, and the means over all labels."""
    table = check_predictions(predictions, several_labels=True)
    labels = {
        name: evaluate_table(one_class(table, name), settings, about_class(background, name))
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
    if len(samples) < len(labels):
        found = {metric: mean_value({name: entry[metric] for name, entry in entries.items()}) for metric in AVERAGED}
    else:
        every = np.arange(len(samples[0].labels))
        shared = Shared(by_pattern(samples), samples, [every] * len(samples))
        metrics = {name: metric for name, metric in catalogue(samples[0], settings).items() if name in AVERAGED}
        found = estimate_means(entries, shared, metrics, settings) | exact_match(samples, settings)
    return {name: estimate.entry() for name, estimate in found.items()}


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
