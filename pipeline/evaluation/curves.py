"""Plot tables: ROC, precision-recall, calibration, decision curve, operating points."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD
from pipeline.evaluation.calibration_curve import (
    BIN_COLUMNS,
    CLASS,
    SMOOTH_COLUMNS,
    calibration_table,
    smooth_calibration_table,
)
from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.operating_point import RULES, choose_operating_point
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import estimate_metrics
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS, every_row
from pipeline.evaluation.uncertainty.shares import combine_shares, estimate_share

STEP = 0.02
"""Between two thresholds of the decision curve."""


def thresholds_of(settings: Settings) -> Array:
    """Thresholds of the decision curve: both ends of the declared range, and steps between them."""
    low, high = settings.decision_thresholds
    steps = np.round(np.arange(STEP, 1, STEP), 2)
    return np.unique([low, *steps[(steps > low) & (steps < high)], high])


def decision_curve(sample: Sample, settings: Settings) -> pd.DataFrame:
    """One row per threshold: net benefit of the model with its pointwise interval, and of treating all."""
    rows = []
    for threshold in thresholds_of(settings):
        treated = sample.probs[:, 1] >= threshold
        bounds = net_benefit_interval(sample, treated, threshold, settings)
        values = net_benefit(sample, treated, threshold), *bounds
        rows.append((threshold, *values, net_benefit(sample, np.ones_like(treated), threshold)))
    return pd.DataFrame(rows, columns=["threshold", "net_benefit", "low", "high", "act_on_everybody"])


def net_benefit(sample: Sample, treated: Array, threshold: float) -> float:
    """True positives per row, minus false positives weighted by the odds of the threshold; `treated` (n,) boolean."""
    is_positive = sample.labels == 1
    return float((treated & is_positive).mean() - false_positive_weight(threshold) * (treated & ~is_positive).mean())


def net_benefit_interval(sample: Sample, treated: Array, threshold: float, settings: Settings) -> tuple[float, float]:
    """(low, high) from the shares of true and of false positives; NaN with too few patients of a class or treated."""
    num_treated = sample.count_patients(treated)
    if min(num_treated, sample.patients_of_class.min()) < FEWEST_PATIENTS:
        return np.nan, np.nan
    is_positive, every = sample.labels == 1, every_row(sample)
    shares = [
        estimate_share(treated & rows, every, sample.patients, settings.confidence)
        for rows in (is_positive, ~is_positive)
    ]
    low, high = combine_shares(shares, np.array([1.0, -false_positive_weight(threshold)]))
    return low, high


def false_positive_weight(threshold: float) -> float:
    return threshold / (1 - threshold)


OPERATING_POINTS = "operating_points"
"""Name of the table among the plots."""
SHOWN = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
CAVEAT = "caveat"
"""Column with the limits of a threshold from several models' validation patients."""
COLUMNS = ["rule", "threshold", "metric", "value", "low", "high", "num_patients", "reason", CAVEAT]


def operating_table(validation: Sample | None, shown: Sample, settings: Settings, num_models: int = 1) -> pd.DataFrame:
    """One row per rule and metric, or the reason why the rule has no threshold; empty for more than two classes."""
    if not shown.is_binary:
        return pd.DataFrame(columns=COLUMNS)
    by_rule = {rule: replace(settings, operating_point=rule) for rule in RULES}
    rows = [row for chosen in by_rule.values() for row in rule_rows(validation, shown, chosen, num_models)]
    return pd.DataFrame(rows, columns=COLUMNS)


def rule_rows(validation: Sample | None, shown: Sample, settings: Settings, num_models: int) -> list[dict[str, object]]:
    point = choose_operating_point(validation, settings, shown.num_classes, num_models)
    if point.threshold is None or point.rule != settings.operating_point:
        return [{"rule": settings.operating_point, "reason": point.reason}]
    sample = replace(shown, threshold=point.threshold)
    metrics = {name: metric for name, metric in select_metrics(sample, settings).items() if name in SHOWN}
    return [
        {"rule": point.rule, "threshold": point.threshold, "metric": name, **found.entry(), CAVEAT: point.reason}
        for name, found in estimate_metrics(sample, metrics, settings).items()
    ]


EMPTY_CALIBRATION, EMPTY_SMOOTH = pd.DataFrame(columns=BIN_COLUMNS), pd.DataFrame(columns=SMOOTH_COLUMNS)


def plot_tables(sample: Sample, corrected: Sample | None, settings: Settings) -> dict[str, pd.DataFrame]:
    """Curves, calibration, confusion and scores, none with ids.

    `corrected` is the sample after calibration. Decision curves use it where it exists, because they
    rely on calibrated probabilities; they are drawn for two classes only.
    """
    best = sample if corrected is None else corrected
    return {
        "roc": ranking_table(sample, roc_points),
        "precision_recall": ranking_table(sample, precision_recall_points),
        "calibration": calibration_table(sample, settings),
        "calibration_after": calibration_table(corrected, settings) if corrected else EMPTY_CALIBRATION,
        "calibration_smooth": smooth_calibration_table(sample, settings),
        "calibration_smooth_after": smooth_calibration_table(corrected, settings) if corrected else EMPTY_SMOOTH,
        "decision_curve": decision_curve(best, settings) if sample.is_binary else pd.DataFrame(columns=["threshold"]),
        "confusion": confusion_table(sample),
        "scores": scores_table(sample),
    }


def ranking_table(sample: Sample, points: Callable[[Array, Array, Array], pd.DataFrame]) -> pd.DataFrame:
    """Points of the positive class of two, or of each of more against the rest; one curve per fold."""
    tables = []
    for k in sample.rankings:
        for fold in range(sample.num_folds):
            rows = sample.folds == fold
            is_class, scores = sample.labels[rows] == k, sample.probs[rows, k]
            if 0 < is_class.sum() < len(is_class):
                table = points(*counts_at_thresholds(is_class, scores))
                tables.append(table.assign(**{FOLD: fold, CLASS: sample.class_names[k]}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[FOLD, CLASS])


def counts_at_thresholds(is_class: Array, scores: Array) -> tuple[Array, Array, Array]:
    """True and false positives at each distinct score, and these scores from the highest."""
    thresholds = np.unique(scores)[::-1]
    called = np.searchsorted(np.sort(-scores), -thresholds, side="right")
    true_positives = np.searchsorted(np.sort(-scores[is_class]), -thresholds, side="right")
    return true_positives, called - true_positives, thresholds


def roc_points(true_positives: Array, false_positives: Array, at: Array) -> pd.DataFrame:
    """From (0, 0) to (1, 1)."""
    return pd.DataFrame(
        {
            "false_positive_rate": np.append(0, false_positives) / false_positives[-1],
            "sensitivity": np.append(0, true_positives) / true_positives[-1],
            "threshold": np.append(np.nan, at),
        }
    )


def precision_recall_points(true_positives: Array, false_positives: Array, at: Array) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "recall": true_positives / true_positives[-1],
            "precision": true_positives / (true_positives + false_positives),
            "threshold": at,
        }
    )


def confusion_table(sample: Sample) -> pd.DataFrame:
    """One row per prediction, the format of `dvc plots`; empty where two classes have no threshold."""
    if sample.is_binary and sample.threshold is None:
        return pd.DataFrame(columns=["actual", "predicted"])
    names = np.array(sample.class_names)
    return pd.DataFrame({"actual": names[sample.labels], "predicted": names[sample.preds]})


def scores_table(sample: Sample) -> pd.DataFrame:
    """True class, and the probability of the positive class of two or of the true class of more."""
    rows = np.arange(len(sample.labels))
    probs = sample.probs[:, 1] if sample.is_binary else sample.probs[rows, sample.labels]
    table = pd.DataFrame({"label": np.array(sample.class_names)[sample.labels], "probability": probs})
    order = np.lexsort((probs, sample.labels))
    return table.iloc[order].reset_index(drop=True)
