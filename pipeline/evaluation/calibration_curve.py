"""Calibration curves: observed shares in bins, and a smooth curve with its band.

The smooth curve is a logistic regression of the label on a restricted cubic spline of the logit of the probability
(Harrell, Regression Modeling Strategies, 2015, section 2.4.5; for calibration: Van Calster et al., Journal of Clinical
Epidemiology 2016;74:167-176). Its pointwise band comes from errors clustered by patient.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from pipeline.evaluation.metrics.calibration import NUM_BINS, bin_of, logit, patient_influence, predicted_and_observed
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.intervals import student_quantile
from pipeline.evaluation.uncertainty.methods import reason_few_patients
from pipeline.evaluation.uncertainty.shares import estimate_share

CLASS = "class"
BIN_COLUMNS = ["predicted", "observed", "low", "high", "num_rows", "num_patients"]
SMOOTH_COLUMNS = [CLASS, "predicted", "observed", "low", "high", "reason"]
KNOTS = (0.1, 0.5, 0.9)
"""Quantiles of the logits at which the pieces of the spline meet; it is linear outside."""
NUM_POINTS = 40
"""Of the curve, at equally spaced quantiles of the probabilities, and as many equally spaced between their ends."""
NEWTON_STEPS, LARGEST_STEP, TOLERANCE = 60, 2.0, 1e-8


def calibration_table(sample: Sample, settings: Settings) -> pd.DataFrame:
    """One row per bin with rows: mean predicted probability, observed share with its interval, rows, patients."""
    predicted, observed = predicted_and_observed(sample)
    bins = bin_of(predicted, settings.calibration_bins)
    rows = []
    for number in range(NUM_BINS):
        inside = bins == number
        if inside.any():
            share = estimate_share(observed, inside, sample.patients, settings.confidence)
            bounds = share.value, share.low, share.high
            rows.append((predicted[inside].mean(), *bounds, inside.sum(), share.num_patients))
    return pd.DataFrame(rows, columns=BIN_COLUMNS)


def smooth_calibration_table(sample: Sample, settings: Settings) -> pd.DataFrame:
    """The curve of the positive class of two, or of each of more against the rest; a row with the reason for none."""
    parts = []
    for k in [1] if sample.is_binary else range(sample.num_classes):
        name = sample.class_names[k]
        of_class = sample if sample.is_binary else sample.against_rest(k)
        probs, steps = of_class.probs[:, 1], np.linspace(0, 1, NUM_POINTS)
        points = np.union1d(np.quantile(probs, steps), probs.min() + steps * np.ptp(probs))
        curve = smooth_calibration(of_class, points, settings.confidence)
        parts.append((pd.DataFrame({"reason": [curve]}) if isinstance(curve, str) else curve).assign(**{CLASS: name}))
    return pd.concat(parts, ignore_index=True).reindex(columns=SMOOTH_COLUMNS)


def smooth_calibration(sample: Sample, points: Array, confidence: float) -> pd.DataFrame | str:
    """Observed share, low and high at some probabilities (Q,) of two classes; or the reason why there is none.

    Where the curve expects under one patient of a class at or beyond a probability, nothing but the form of the curve
    says how far it may be off: no low and high, and the reason.
    """
    few = reason_few_patients(sample.patients_of_class, sample.class_names)
    if few:
        return few
    scores, labels = logit(sample.probs[:, 1]), (sample.labels == 1).astype(float)
    knots = np.unique(np.quantile(scores, KNOTS))
    if len(np.unique(scores)) < 2:
        return "every score is the same"
    design = spline_basis(scores, knots)
    coefficients = fit_logistic(design, labels)
    if coefficients is None:
        return "the classes are separated"
    influence = patient_influence(sample, design, labels, design @ coefficients)
    shown = spline_basis(logit(points), knots)
    center = shown @ coefficients
    reach = student_quantile(confidence, sample.num_patients - 1) * np.sqrt(((shown @ influence.T) ** 2).sum(1))
    curve = pd.DataFrame({"predicted": points, "observed": expit(center)})
    is_known = expected_beyond(sample, points, expit(design @ coefficients)) >= 1
    bounds = {"low": expit(center - reach), "high": expit(center + reach)}
    return curve.assign(
        **{name: np.where(is_known, bound, np.nan) for name, bound in bounds.items()},
        reason=np.where(is_known, None, "under one patient of a class is expected at or beyond this probability"),
    )


def expected_beyond(sample: Sample, points: Array, fitted: Array) -> Array:
    """(Q,) patients of the rarer outcome at or beyond each point, by the fitted shares (n,).

    Those of the class at or below the point, or of the rest at or above it, whichever is fewer.
    """
    probs, scans = sample.probs[:, 1], np.bincount(sample.patients)[sample.patients]
    below = np.where(probs <= points[:, None], fitted / scans, 0).sum(1)
    above = np.where(probs >= points[:, None], (1 - fitted) / scans, 0).sum(1)
    return np.minimum(below, above)


def spline_basis(scores: Array, knots: Array) -> Array:
    """(n, C) intercept, the scores, and a restricted cubic term for each knot but two; a line with fewer than three."""
    columns = [np.ones(len(scores)), scores]
    if len(knots) > 2:
        last, before = knots[-1], knots[-2]
        for knot in knots[:-2]:
            share = (last - knot) / (last - before), (before - knot) / (last - before)
            term = cubed(scores - knot) - share[0] * cubed(scores - before) + share[1] * cubed(scores - last)
            columns.append(term / (last - knots[0]) ** 2)
    return np.stack(columns, axis=1)


def cubed(values: Array) -> Array:
    return np.maximum(values, 0) ** 3


def fit_logistic(design: Array, labels: Array) -> Array | None:
    """(C,) coefficients of greatest likelihood by Newton's method; None where it has no maximum."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        probs = expit(design @ coefficients)
        information = (design.T * (probs * (1 - probs))) @ design
        try:
            step = np.linalg.solve(information, design.T @ (labels - probs))
        except np.linalg.LinAlgError:
            return None
        coefficients = coefficients + step * min(1.0, LARGEST_STEP / max(np.abs(design @ step).max(), TOLERANCE))
        if np.abs(step).max() < TOLERANCE:
            return coefficients
    return None
