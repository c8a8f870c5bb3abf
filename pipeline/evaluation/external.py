"""A frozen run on an external cohort: as it is, and with the intercept alone fitted anew.

Where only the share of the disease differs, shifting every logit by one number repairs the probabilities; what stays
wrong after that is more than prevalence.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.core.columns import TEST
from pipeline.evaluation.covariates import Background
from pipeline.evaluation.decision_rule import Frozen
from pipeline.evaluation.ensembling import by_model
from pipeline.evaluation.evaluate import CALIBRATED, Evaluation, Judged, evaluate_table, undefined
from pipeline.evaluation.metrics.calibration import logistic_fit, logit
from pipeline.evaluation.predictions import check_predictions
from pipeline.evaluation.registry import catalogue
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Entry, estimate_metrics

PARTS = 10
"""Patients are divided in so many parts, and each part is shifted by what the others say."""
SHIFTED = (*CALIBRATED, "accuracy", "balanced_accuracy", "sensitivity", "specificity")
"""Metrics that a shift of the logit changes."""


def evaluate_frozen(
    predictions: pd.DataFrame, settings: Settings, frozen: Mapping[str, Frozen], background: Background | None = None
) -> Evaluation:
    """All rows are test rows, judged by what was frozen; `recalibrated_<metric>` after the shift."""
    check_models(predictions, frozen)
    found = evaluate_table(predictions, settings, background, frozen)
    levels = {
        level: entries | recalibrated(found.judged[level].get(TEST), settings)
        for level, entries in found.metrics[TEST].items()
    }
    return replace(found, metrics={TEST: levels})


def check_models(predictions: pd.DataFrame, frozen: Mapping[str, Frozen]) -> None:
    """Every model that predicted has something frozen."""
    known = next(iter(frozen.values())).calibrations
    strangers = [name for name, _ in by_model(check_predictions(predictions)) if name not in known]
    if strangers:
        raise ValueError(
            f"calibration.json: nothing was frozen for {', '.join(strangers)}, got {', '.join(known)}; "
            "run 'python -m pipeline.evaluate' with all folds of the run first."
        )


def recalibrated(judged: Judged | None, settings: Settings) -> dict[str, Entry]:
    if judged is None:
        return {}
    # As it was judged: after the calibration its threshold would stand on another scale.
    sample = judged.sample
    metrics = {name: metric for name, metric in catalogue(sample, settings).items() if name in SHIFTED}
    shifted = shift_intercept(sample)
    if isinstance(shifted, str):
        found = undefined(metrics, sample, shifted)
    else:
        found = estimate_metrics(shifted, metrics, settings)
    return {f"recalibrated_{name}": estimate.entry() for name, estimate in found.items()}


def shift_intercept(sample: Sample) -> Sample | str:
    """The sample with each part's logits moved by the intercept of the other parts, or why that cannot be done."""
    if not sample.is_binary:
        return "an intercept is fitted for two classes only"
    shifts = np.empty(len(sample.labels))
    for part in range(PARTS):
        inside = sample.patients % PARTS == part
        shifts[inside] = logistic_fit(sample.select(~inside).weighted(), slope=1.0)[0, 0]
    if not np.isfinite(shifts).all():
        return "the cohort has too few patients of a class to fit an intercept"
    positive = 1 / (1 + np.exp(-(logit(sample.probs[:, 1]) + shifts)))
    return replace(sample, probs=np.stack([1 - positive, positive], axis=1))
