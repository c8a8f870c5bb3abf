"""Time the clustered bootstrap: 2,000 resamples of twelve metrics on 10,000 scans of 4,000 patients and 5 classes.

And the whole evaluation of a table of 100,000 scans of 40,000 patients, by patient and by scan, in seconds of one core.

    python benchmarks/evaluation.py

Prints a table and, as its last line, one JSON object. The loop over scikit-learn computes the same numbers for a few of
the same resamples, in the same process, and is scaled up; about a minute in all.
"""

import time
from pathlib import Path
from sys import path

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn

path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, in_turn, report  # noqa: E402
from pipeline.evaluation.metrics import calibration, decisions, discrimination  # noqa: E402
from pipeline.evaluation.outputs import evaluate_task  # noqa: E402
from pipeline.evaluation.sample import Sample  # noqa: E402
from pipeline.evaluation.settings import Settings  # noqa: E402
from pipeline.evaluation.uncertainty.estimates import bootstrap, resamples  # noqa: E402

RESAMPLES, SCANS, PATIENTS, CLASSES = 2000, 10_000, 4_000, 5
LOOPED = 4
"""Resamples that scikit-learn is given."""
REPEATS = 3
FIGURES = {
    "auroc": discrimination.auroc,
    "average_precision": discrimination.average_precision,
    "accuracy": decisions.accuracy,
    "balanced_accuracy": decisions.balanced_accuracy,
    "sensitivity": decisions.sensitivity,
    "positive_predictive_value": decisions.positive_predictive_value,
    "f1": decisions.f1,
    "mcc": decisions.mcc,
    "kappa": decisions.kappa,
    "quadratic_kappa": decisions.quadratic_kappa,
    "brier_score": calibration.brier_score,
    "log_loss": calibration.log_loss,
}
LARGEST_SECONDS, SMALLEST_RATIO, TOLERANCE = 10, 30, 1e-9
TABLE_SCANS, TABLE_PATIENTS, LARGEST_TABLE_SECONDS = 100_000, 40_000, 30


def made_sample() -> Sample:
    rng = np.random.default_rng(0)
    patients = np.unique(rng.integers(PATIENTS, size=SCANS), return_inverse=True)[1]
    labels = rng.integers(CLASSES, size=patients.max() + 1)[patients]
    logits = rng.normal(size=(SCANS, CLASSES)) + np.eye(CLASSES)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Sample(labels, probs, patients, patients * 0, tuple(f"class{k}" for k in range(CLASSES)))


def with_scikit_learn(sample: Sample, weights: np.ndarray) -> dict[str, float]:
    """The same figures of one resample."""
    labels, probs, preds, shared = sample.labels, sample.probs, sample.preds, {"sample_weight": weights}
    macro = {"average": "macro", **shared}
    return {
        "auroc": sklearn.roc_auc_score(labels, probs, multi_class="ovr", **shared),
        "average_precision": sklearn.average_precision_score(sample.onehot, probs, **macro),
        "accuracy": sklearn.accuracy_score(labels, preds, **shared),
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, preds, **shared),
        "sensitivity": sklearn.recall_score(labels, preds, **macro),
        "positive_predictive_value": sklearn.precision_score(labels, preds, **macro),
        "f1": sklearn.f1_score(labels, preds, **macro),
        "mcc": sklearn.matthews_corrcoef(labels, preds, **shared),
        "kappa": sklearn.cohen_kappa_score(labels, preds, **shared),
        "quadratic_kappa": sklearn.cohen_kappa_score(labels, preds, weights="quadratic", **shared),
        "brier_score": float(np.average(((probs - sample.onehot) ** 2).sum(1), weights=weights)),
        "log_loss": sklearn.log_loss(labels, probs, **shared),
    }


def made_table() -> pd.DataFrame:
    """Two classes; half of the patients validate, half test."""
    rng = np.random.default_rng(0)
    patients = np.sort(rng.integers(TABLE_PATIENTS, size=TABLE_SCANS))
    is_ill = (rng.random(TABLE_PATIENTS) < 0.3)[patients]
    probs = 1 / (1 + np.exp(1.5 - rng.normal(size=TABLE_PATIENTS)[patients] - rng.normal(size=TABLE_SCANS) - is_ill))
    return pd.DataFrame(
        {
            "scan_id": np.arange(TABLE_SCANS).astype(str),
            "patient_id": patients.astype(str),
            "split": np.where(patients % 2, "test", "val"),
            "label": np.where(is_ill, "ill", "well"),
            "prob_well": 1 - probs,
            "prob_ill": probs,
        }
    )


def table_seconds() -> float:
    """Of one core, whatever else the machine does."""
    table, start = made_table(), time.process_time()
    evaluate_task(table, Settings(num_bootstrap=RESAMPLES))
    return time.process_time() - start


def main() -> None:
    sample = made_sample()
    weights = next(resamples(sample, LOOPED, seed=0)).weights
    ours = bootstrap(sample, FIGURES, LOOPED, seed=0)
    theirs = [with_scikit_learn(sample, row) for row in weights]
    gap = max(abs(row[name] - ours[name][number]) for number, row in enumerate(theirs) for name in FIGURES)
    seconds = in_turn(
        REPEATS,
        bootstrap=lambda: bootstrap(sample, FIGURES, RESAMPLES, seed=0),
        loop=lambda: [with_scikit_learn(sample, row) for row in weights],
    )
    seconds["loop"] *= RESAMPLES / LOOPED
    ratios = [
        Ratio("seconds", seconds["bootstrap"], at_most=LARGEST_SECONDS),
        Ratio("faster_than_scikit_learn", seconds["loop"] / seconds["bootstrap"], at_least=SMALLEST_RATIO),
        Ratio("largest_difference", float(gap), at_most=TOLERANCE),
        Ratio("seconds_of_the_table", table_seconds(), at_most=LARGEST_TABLE_SECONDS),
    ]
    report("evaluation", {"clustered bootstrap": seconds["bootstrap"], "loop, scaled": seconds["loop"]}, ratios)


if __name__ == "__main__":
    main()
