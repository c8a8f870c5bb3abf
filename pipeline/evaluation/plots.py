"""Tables behind the curves, for `dvc plots` and the report."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD
from pipeline.evaluation.breakdowns.decision_curve import decision_curve
from pipeline.evaluation.metrics.calibration import NUM_BINS, bin_of, stated_and_happened
from pipeline.evaluation.precision.intervals import effective_count, wilson_interval
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Array, Sample

CLASS = "class"
EMPTY_CALIBRATION = pd.DataFrame(columns=["predicted", "observed", "low", "high", "num_rows", "num_patients"])


def plot_tables(sample: Sample, corrected: Sample | None, settings: Settings) -> dict[str, pd.DataFrame]:
    """Curves, calibration, confusion and scores; none says who a row is about.

    `corrected` is the sample after calibration. Decision curves are drawn for it where it is there, since they take
    probabilities at their word, and for two classes only.
    """
    best = sample if corrected is None else corrected
    return {
        "roc": ranking_table(sample, roc_points),
        "precision_recall": ranking_table(sample, precision_recall_points),
        "calibration": calibration_table(sample, settings),
        "calibration_after": calibration_table(corrected, settings) if corrected else EMPTY_CALIBRATION,
        "decision_curve": decision_curve(best, settings) if sample.is_binary else pd.DataFrame(columns=["threshold"]),
        "confusion": confusion_table(sample),
        "scores": scores_table(sample),
    }


def ranking_table(sample: Sample, points: Callable[[Array, Array, Array], pd.DataFrame]) -> pd.DataFrame:
    """Points of the positive class of two, or of each of more against the rest; folds are drawn apart."""
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
    """True and false positives when called from each distinct score, and these scores from the highest."""
    thresholds = np.unique(scores)[::-1]
    called = np.searchsorted(np.sort(-scores), -thresholds, side="right")
    true_positives = np.searchsorted(np.sort(-scores[is_class]), -thresholds, side="right")
    return true_positives, called - true_positives, thresholds


def roc_points(true_positives: Array, false_positives: Array, at: Array) -> pd.DataFrame:
    """From (0, 0), where nothing is called, to (1, 1)."""
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


def calibration_table(sample: Sample, settings: Settings) -> pd.DataFrame:
    """A row a bin that holds anything: mean stated probability, observed share with its interval, rows, patients."""
    stated, happened = stated_and_happened(sample)
    bins = bin_of(stated, settings.calibration_bins)
    rows = []
    for number in range(NUM_BINS):
        inside = bins == number
        if inside.any():
            hits, patients = happened[inside], sample.patients[inside]
            low, high = wilson_interval(hits.mean(), effective_count(hits, patients), settings.confidence)
            rows.append((stated[inside].mean(), hits.mean(), low, high, inside.sum(), len(np.unique(patients))))
    return pd.DataFrame(rows, columns=EMPTY_CALIBRATION.columns)


def confusion_table(sample: Sample) -> pd.DataFrame:
    """A row a prediction, as `dvc plots` wants it; none where two classes have no threshold."""
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
