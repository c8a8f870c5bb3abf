"""Baselines without the image, which the model must beat on the same patients.

A logistic regression on the clinical covariates, and one on acquisition (scanner, protocol, site, shape, spacing,
orientation, data type). Each is fitted on the patients that the model could have trained on, and evaluated on the
model's patients. If acquisition alone predicts the label, a shortcut is available to the network; whether the network
uses it is a question for the audits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.cv_design import PART, held_out_rounds, patient_partitions
from pipeline.evaluation.sample import Array, Sample, varies
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, reason_no_variance
from pipeline.evaluation.uncertainty.intervals import logit_interval, normal_quantile
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

Fit = Callable[[Array, Array, Array], Array]
"""(train, is_positive, held_out) -> probability of the positive class for the held-out rows."""

MOST_CATEGORIES = 8
NUMBERS_APART = "x"
"""Separates the sizes of a shape or spacing, as in 256x256x180."""


@dataclass(frozen=True)
class Baseline:
    """A row of baselines.csv; a missing value has a reason."""

    name: str
    columns: str
    num_patients: int
    auroc: float | None = None
    low: float | None = None
    high: float | None = None
    advantage: float | None = None
    """AUROC of the model minus that of the baseline …"""
    advantage_low: float | None = None
    advantage_high: float | None = None
    reason: str | None = None


def evaluate_baselines(sample: Sample, rows: pd.DataFrame, covariates: Covariates, confidence: float) -> pd.DataFrame:
    """One row per set of columns; `rows` (one a row of the two-class sample) name patient, split and fold."""
    baselines = covariate_baselines(sample, rows, covariates, confidence)
    return pd.DataFrame(baselines, columns=list(Baseline.__dataclass_fields__))


def covariate_baselines(
    sample: Sample, rows: pd.DataFrame, covariates: Covariates, confidence: float
) -> list[Baseline]:
    return [
        evaluate_baseline(sample, rows, covariates, name, columns, confidence)
        for name, columns in covariates.predictors.items()
    ]


def evaluate_baseline(
    sample: Sample, rows: pd.DataFrame, covariates: Covariates, name: str, columns: tuple[str, ...], confidence: float
) -> Baseline:
    shown = ", ".join(columns)
    if not columns:
        return Baseline(name, shown, sample.num_patients, reason="no column has this role")
    if covariates.splits is None:
        return Baseline(
            name, shown, sample.num_patients, reason="splits.csv is missing, so there are no patients to fit on"
        )
    if sample.patients_of_class.min() < FEWEST_PATIENTS:
        return Baseline(name, shown, sample.num_patients, reason=f"under {FEWEST_PATIENTS} patients of a class")
    features = features_of(covariates.cohort, columns)
    scores = held_out_probs(features, covariates.splits, sample.class_names[1], rows[PATIENT_ID])
    return compare_with_baseline(sample, scores, name, shown, confidence)


def compare_with_baseline(sample: Sample, scores: Array, name: str, shown: str, confidence: float) -> Baseline:
    """The baseline's row, from its score (n,) for each row of the sample."""
    if np.isnan(scores).any():
        return Baseline(name, shown, sample.num_patients, reason="splits.csv lacks patients or folds to fit on")
    if not varies(scores, sample.folds):
        return Baseline(name, shown, sample.num_patients, reason="nothing varies")
    both = np.stack([sample.probs[:, 1], scores], axis=1)
    aurocs, covariance = clustered_auroc(sample.labels == 1, both, sample.patients, sample.folds)
    baseline, variance = float(aurocs[1]), float(covariance[1, 1])
    reason = "the columns predict the label perfectly" if baseline == 1 else reason_no_variance(variance)
    if reason:
        return Baseline(name, shown, sample.num_patients, baseline, reason=reason)
    contrast = np.array([1, -1])
    advantage = float(contrast @ aurocs)
    reach = normal_quantile(confidence) * float(np.sqrt(max(0.0, contrast @ covariance @ contrast)))
    low, high = logit_interval(baseline, variance, confidence)
    return Baseline(
        name, shown, sample.num_patients, baseline, low, high, advantage, advantage - reach, advantage + reach
    )


def held_out_probs(
    features: pd.DataFrame, splits: pd.DataFrame, positive: str, asked: pd.Series, fit: Fit | None = None
) -> Array:
    """(n,) probability of the positive class for the `asked` patients, from regressions that were not fitted on them.

    `features` has a row a patient, `fit` makes a regression. NaN for patients that every model has seen.
    """
    patients = patient_partitions(splits).drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)
    known, is_positive = features.reindex(patients.index).to_numpy(), (patients[LABEL] == positive).to_numpy()
    probs, is_asked = np.full(len(patients), np.nan), patients.index.isin(asked)
    for train, held_out in held_out_rounds(patients[PART].to_numpy()):
        if train.any() and (held_out & is_asked).any():
            probs[held_out] = (fit or fit_and_score)(known[train], is_positive[train], known[held_out])
    return pd.Series(probs, patients.index).reindex(asked).to_numpy()


def fit_and_score(train: Array, is_positive: Array, held_out: Array) -> Array:
    """Probability of the positive class for the held-out rows; constant where the training rows have one class."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if is_positive.all() or not is_positive.any():
        return np.full(len(held_out), float(is_positive.mean()))
    steps = (SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), LogisticRegression())
    return make_pipeline(*steps).fit(train, is_positive).predict_proba(held_out)[:, 1]


def features_of(cohort: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Features by patient, from the first scan: numbers as they are, categories one-hot."""
    first = cohort.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)
    return pd.concat([feature_columns(first[name].astype(str)) for name in columns], axis=1).astype(float)


def feature_columns(values: pd.Series) -> pd.DataFrame:
    parts = values.str.split(NUMBERS_APART, expand=True).apply(pd.to_numeric, errors="coerce")
    is_missing = values == ""
    if not is_missing.all() and parts[~is_missing].notna().all(axis=None):
        return parts.add_prefix(f"{values.name}_")
    common = values.value_counts().index[:MOST_CATEGORIES]
    return pd.DataFrame({f"{values.name}_{value}": (values == value).astype(float) for value in common})
