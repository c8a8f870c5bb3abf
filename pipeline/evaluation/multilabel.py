"""Evaluate several labels per scan: each label as two classes, present or absent, and their unweighted mean.

Probabilities are independent; `label` has the present classes joined by `;`, or `none`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.evaluate import Evaluation, Metrics, evaluate_table
from pipeline.evaluation.metrics import METRICS, select_metrics
from pipeline.evaluation.metrics.decisions import is_correct
from pipeline.evaluation.one_vs_rest import covariates_of_class, joined, named, one_vs_rest_table
from pipeline.evaluation.predictions import check_predictions, class_names
from pipeline.evaluation.registry import Metric, metric_title
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.subgroups import adjust_p_values
from pipeline.evaluation.uncertainty.estimates import Entry, Estimate, estimate_metrics
from pipeline.evaluation.uncertainty.methods import Wilson
from pipeline.evaluation.uncertainty.repeated import RepeatedSamples, estimate_means, mean_value

EXACT_MATCH = "exact_match"


def evaluate_labels(predictions: pd.DataFrame, settings: Settings, covariates: Covariates | None = None) -> Evaluation:
    """Evaluate each label by itself, as `<metric>_<label>`, and the means over all labels."""
    table = check_predictions(predictions, several_labels=True)
    labels = {
        name: evaluate_table(one_vs_rest_table(table, name), settings, covariates_of_class(covariates, name))
        for name in class_names(table)
    }
    any_label = next(iter(labels.values()))
    subgroups = named({name: label.subgroups for name, label in labels.items()}, "covariate")
    return Evaluation(
        metrics=all_metrics(labels, settings),
        fitted={level: {name: label.fitted[level] for name, label in labels.items()} for level in (SCAN, PATIENT)},
        headline=any_label.headline,
        plots={plot: joined({name: label.plots[plot] for name, label in labels.items()}) for plot in any_label.plots},
        models=joined({name: label.models for name, label in labels.items()}),
        subgroups=None if subgroups is None else adjust_p_values(subgroups),
        baselines=named({name: label.baselines for name, label in labels.items()}, "name"),
        results={},
        classes=tuple(labels),
        settings=settings,
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
    """The mean of each metric over the labels; undefined where any label is."""
    entries = {name: label.metrics[split][level] for name, label in labels.items()}
    samples = [label.results[level][split].sample for label in labels.values() if split in label.results[level]]
    if len(samples) < len(labels):
        averaged = [metric.name for metric in METRICS.entries() if metric.averaged]
        found = {metric: mean_value({name: entry[metric] for name, entry in entries.items()}) for metric in averaged}
    else:
        found = label_means(samples, entries, settings)
    return {name: estimate.entry() for name, estimate in found.items()}


def label_means(
    samples: list[Sample], entries: Mapping[str, Mapping[str, Entry]], settings: Settings
) -> dict[str, Estimate]:
    """Means over the labels, `samples` with the same rows for each; `entries` are the metrics of each label."""
    every = np.arange(len(samples[0].labels))
    repeated = RepeatedSamples(samples[0], samples, [every] * len(samples))
    metrics = {name: metric for name, metric in select_metrics(samples[0], settings).items() if metric.averaged}
    return estimate_means(entries, repeated, metrics, settings) | exact_match(samples, settings)


def exact_match(samples: list[Sample], settings: Settings) -> dict[str, Estimate]:
    """Share of rows with every label correct."""
    hits = np.all([is_correct(sample) for sample in samples], axis=0)
    metric = Metric(
        EXACT_MATCH,
        lambda weighted: weighted.mean(hits.astype(float)),
        metric_title(EXACT_MATCH),
        Wilson(lambda _: hits),
        needs_every_class=False,
    )
    return estimate_metrics(samples[0], {EXACT_MATCH: metric}, settings)
