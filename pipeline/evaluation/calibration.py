"""Making probabilities mean what they say: a correction fitted on validation patients only, applied as it is.

How free the correction is depends on how many patients there are to fit it on: one number (temperature) from 40, a line
on the logit (Platt, or for several classes a temperature and shift each) from 100, any rising curve from 1,000.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from pipeline.evaluation.metrics.calibration import SMALLEST_PROB, logistic_fit, logit
from pipeline.evaluation.sample import Array, Sample

PATIENTS_FOR_TEMPERATURE, PATIENTS_FOR_PLATT, PATIENTS_FOR_ISOTONIC = 40, 100, 1000


@dataclass(frozen=True)
class Calibration:
    """A fitted correction, plain enough to be kept as JSON."""

    method: str
    """none, temperature, platt, vector or isotonic."""
    parameters: dict[str, list[float]]
    num_patients: int
    """Validation patients it was fitted on."""
    reason: str
    """Why this method."""

    def apply(self, probs: Array) -> Array:
        """Corrected probabilities, shape (n, K) like the given ones."""
        if self.method == "none":
            return probs
        if self.method == "isotonic":
            positive = np.interp(probs[:, 1], self.parameters["stated"], self.parameters["observed"])
            return np.stack([1 - positive, positive], axis=1)
        scale, shift = np.array(self.parameters["scale"]), np.array(self.parameters["shift"])
        return softmax(log_probs(probs) * scale + shift, axis=1)


def fit_calibration(validation: Sample | None) -> Calibration:
    """The freest correction that the number of validation patients allows."""
    count = validation.num_patients if validation is not None else 0
    if validation is None or count < PATIENTS_FOR_TEMPERATURE:
        reason = f"{count} validation patients, a temperature needs {PATIENTS_FOR_TEMPERATURE}"
        return Calibration("none", {}, count, reason)
    if validation.patients_of_class.min() == 0:
        return Calibration("none", {}, count, "validation lacks a class")
    if count < PATIENTS_FOR_PLATT:
        return fit_temperature(validation)
    if not validation.is_binary:
        return fit_vector(validation)
    return fit_platt(validation) if count < PATIENTS_FOR_ISOTONIC else fit_isotonic(validation)


def fit_temperature(validation: Sample) -> Calibration:
    """One number that all logits are divided by."""
    scores, rows = log_probs(validation.probs), np.arange(len(validation.labels))

    def loss(log_scale: float) -> float:
        return -log_softmax(scores * np.exp(log_scale), axis=1)[rows, validation.labels].mean()

    scale = float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))
    reason = f"{validation.num_patients} validation patients, enough for a temperature"
    return Calibration("temperature", {"scale": [scale], "shift": [0.0]}, validation.num_patients, reason)


def fit_platt(validation: Sample) -> Calibration:
    """A line on the logit; a temperature where the classes are separated and the line would be vertical."""
    intercept, slope = logistic_fit(validation.weighted())[0]
    if not np.isfinite(slope) or slope <= 0:
        return fit_temperature(validation)
    parameters = {"scale": [float(slope)], "shift": [0.0, float(intercept)]}
    reason = f"{validation.num_patients} validation patients, enough for a line on the logit"
    return Calibration("platt", parameters, validation.num_patients, reason)


def fit_vector(validation: Sample) -> Calibration:
    """A scale and a shift for the log-probability of each class."""
    scores, num_classes = log_probs(validation.probs), validation.num_classes

    def loss(parameters: Array) -> tuple[float, Array]:
        stated = log_softmax(scores * parameters[:num_classes] + parameters[num_classes:], axis=1)
        gap = (np.exp(stated) - validation.onehot) / len(scores)
        gradient = np.concatenate([(gap * scores).sum(0), gap.sum(0)])
        return -(stated * validation.onehot).sum() / len(scores), gradient

    start = np.concatenate([np.ones(num_classes), np.zeros(num_classes)])
    bounds = [(0.01, 50)] * num_classes + [(-50, 50)] * num_classes
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    parameters = {"scale": fitted[:num_classes].tolist(), "shift": fitted[num_classes:].tolist()}
    reason = f"{validation.num_patients} validation patients, enough for a scale and shift a class"
    return Calibration("vector", parameters, validation.num_patients, reason)


def fit_isotonic(validation: Sample) -> Calibration:
    """The rising steps nearest to the truth; kept off 0 and 1, which no sample can prove."""
    from sklearn.isotonic import IsotonicRegression

    margin = 1 / (2 * validation.num_patients)
    regression = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip")
    regression.fit(validation.probs[:, 1], validation.labels)
    parameters = {"stated": regression.X_thresholds_.tolist(), "observed": regression.y_thresholds_.tolist()}
    reason = f"{validation.num_patients} validation patients, enough for any rising curve"
    return Calibration("isotonic", parameters, validation.num_patients, reason)


def log_probs(probs: Array) -> Array:
    """(n, K) -> (n, K); for two classes (0, logit), so that a scale and shift are those of the logit."""
    if probs.shape[1] == 2:
        return np.stack([np.zeros(len(probs)), logit(probs[:, 1])], axis=1)
    return np.log(np.maximum(probs, SMALLEST_PROB))
