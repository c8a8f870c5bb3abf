"""Evaluate a frozen run on an external cohort: as it is, and after refitting the intercept alone.

Where only the prevalence differs, shifting every logit by one number corrects the probabilities; what remains wrong
after that is not due to prevalence.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.core.columns import TEST
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.decision_rule import FittedOnValidation
from pipeline.evaluation.ensembling import by_model
from pipeline.evaluation.evaluate import Evaluation, LevelResult, evaluate_table, undefined
from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.metrics.calibration import logistic_fit, logit
from pipeline.evaluation.predictions import check_predictions
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Entry, estimate_metrics

PARTS = 10
"""Parts of the patients; each part is shifted by the intercept of the others."""


def evaluate_external_cohort(
    predictions: pd.DataFrame,
    settings: Settings,
    fitted: Mapping[str, FittedOnValidation],
    covariates: Covariates | None = None,
) -> Evaluation:
    """All rows are test rows, at the frozen threshold and calibration; `recalibrated_<metric>` after the shift."""
    check_models(predictions, fitted)
    found = evaluate_table(predictions, settings, covariates, fitted)
    levels = {
        level: entries | recalibrated(found.results[level].get(TEST), settings)
        for level, entries in found.metrics[TEST].items()
    }
    return replace(found, metrics={TEST: levels})


def check_models(predictions: pd.DataFrame, fitted: Mapping[str, FittedOnValidation]) -> None:
    """Raise ValueError unless every model that predicted has a fitted calibration."""
    known = next(iter(fitted.values())).calibrations
    unknown = [name for name, _ in by_model(check_predictions(predictions)) if name not in known]
    if unknown:
        raise ValueError(
            f"calibration.json: nothing was frozen for {', '.join(unknown)}, got {', '.join(known)}; "
            "run 'python -m pipeline.evaluate' with all folds of the run first."
        )


def recalibrated(result: LevelResult | None, settings: Settings) -> dict[str, Entry]:
    if result is None:
        return {}
    # As predicted: after the calibration its threshold would be on another scale.
    sample = result.sample
    metrics = {
        name: metric
        for name, metric in select_metrics(sample, settings).items()
        if metric.recalibrated or metric.shifted
    }
    shifted = shift_intercept(sample)
    if isinstance(shifted, str):
        found = undefined(metrics, sample, shifted)
    else:
        found = estimate_metrics(shifted, metrics, settings)
    return {f"recalibrated_{name}": estimate.entry() for name, estimate in found.items()}


def shift_intercept(sample: Sample) -> Sample | str:
    """The sample with each part's logits shifted by the intercept of the other parts, or the reason why not."""
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
