"""Logistic regressions on features: standardization, the penalty by folds of patients, coefficients a class.

Without torch, so that a command that needs only a table of features starts at once.
Axes: N scans, F features, K classes.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.utils.class_weight import compute_sample_weight

INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
"""Candidates, in scikit-learn's `C`, strongest penalty first."""
MAX_FOLDS = 5
ROUNDING = 10 * float(np.finfo(np.float32).eps)
"""A standard deviation up to this share of a feature's largest magnitude is rounding of float32, not information."""
Folds = list[tuple[NDArray, NDArray]]
ClassWeight = Literal["balanced"] | None
"""scikit-learn's word: each class counts the same, or each scan."""


def feature_scale(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """Standard deviation of each feature of (N, F); 1 for a constant one, which then has no influence.

    A feature that varies by float32 rounding only is constant too. Divided by that rounding, its value in a new scan
    would outweigh every other feature.
    """
    scale = embeddings.std(axis=0)
    return np.where(scale > ROUNDING * np.abs(embeddings).max(axis=0), scale, 1.0)


def patient_folds(labels: NDArray, groups: NDArray, seed: int) -> Folds:
    """Up to five (training, held-out) index pairs, stratified by label, with each patient in one of the two only."""
    smallest = min(len(np.unique(groups[labels == label])) for label in np.unique(labels))
    if smallest < 2:
        raise ValueError(
            f"logistic head: choosing the penalty needs 2 patients or more of each class, got {smallest}; "
            f"set inverse_penalty"
        )
    splitter = StratifiedGroupKFold(min(MAX_FOLDS, smallest), shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))


def regression_of(inverse_penalty: float, class_weight: ClassWeight) -> LogisticRegression:
    return LogisticRegression(C=inverse_penalty, max_iter=10_000, class_weight=class_weight)


def choose_penalty(features: NDArray, labels: NDArray, folds: Folds, class_weight: ClassWeight = None) -> float:
    """The candidate with the smallest out-of-fold log loss on standardized features (N, F)."""
    candidates = [regression_of(penalty, class_weight) for penalty in INVERSE_PENALTIES]
    losses = [_out_of_fold_loss(features, labels, folds, candidate) for candidate in candidates]
    return INVERSE_PENALTIES[int(np.argmin(losses))]


def _out_of_fold_loss(features: NDArray, labels: NDArray, folds: Folds, regression: LogisticRegression) -> float:
    probs = cross_val_predict(regression, features, labels, cv=folds, method="predict_proba")
    weights = compute_sample_weight(regression.class_weight, labels)
    return log_loss(labels, probs, labels=np.unique(labels), sample_weight=weights)


def class_rows(coefficients: NDArray) -> NDArray:
    """One row per class. scikit-learn has one row w for two classes; -w/2 and w/2 have the same softmax."""
    return coefficients if len(coefficients) > 1 else np.concatenate([-coefficients, coefficients]) / 2
