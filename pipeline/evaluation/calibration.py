"""Making probabilities mean what they say: a correction fitted on validation patients only, applied as it is.

How free a correction may be depends on the events, the patients of the rarest class: one number (temperature), a line
on the logit (Platt, or for several classes a scale and shift each), any rising curve (isotonic). Of those allowed a
freer one is taken only where it describes held-out patients better, beyond chance; a model that needs none keeps its
probabilities. Validation patients are never shown a correction that was fitted on them: `cross_fit`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from pipeline.evaluation.metrics.calibration import SMALLEST_PROB, logistic_fit, logit
from pipeline.evaluation.sample import Array, Sample

PATIENTS_FOR_TEMPERATURE, EVENTS_FOR_TEMPERATURE = 40, 10
"""The events of a temperature are the patients outside the commonest class, …"""
EVENTS_FOR_PLATT, EVENTS_FOR_ISOTONIC, PATIENTS_FOR_ISOTONIC = 20, 100, 1000
"""… all others' those of the rarest: ten a parameter of its class."""
NUM_PARTS = 5
"""Parts of the patients; each is corrected by what the others say."""


@dataclass(frozen=True)
class Calibration:
    """A fitted correction, plain enough to be kept as JSON."""

    method: str
    """none, where there are too few patients; identity, temperature, platt, vector or isotonic."""
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
    """The freest correction that the patients allow and that describes held-out patients best."""
    count = validation.num_patients if validation is not None else 0
    if validation is None or count < PATIENTS_FOR_TEMPERATURE:
        reason = f"{count} validation patients, a temperature needs {PATIENTS_FOR_TEMPERATURE}"
        return Calibration("none", {}, count, reason)
    if validation.patients_of_class.min() == 0:
        return Calibration("none", {}, count, "validation lacks a class")
    events = num_events(validation)
    if events < EVENTS_FOR_TEMPERATURE:
        reason = (
            f"{events} validation patients outside the commonest class, a temperature needs {EVENTS_FOR_TEMPERATURE}"
        )
        return Calibration("none", {}, count, reason)
    return METHODS[best_method(validation)](validation)


def num_events(validation: Sample) -> int:
    commonest = validation.patients_of_class.argmax()
    return validation.count_patients(validation.labels != commonest)


def allowed_methods(validation: Sample) -> list[str]:
    """From the simplest to the freest."""
    rarest = validation.patients_of_class.min()
    found = ["identity", "temperature"]
    if rarest >= EVENTS_FOR_PLATT:
        found.append("platt" if validation.is_binary else "vector")
    if validation.is_binary and rarest >= EVENTS_FOR_ISOTONIC and validation.num_patients >= PATIENTS_FOR_ISOTONIC:
        found.append("isotonic")
    return found


def best_method(validation: Sample) -> str:
    """The simplest, unless a freer one lowers the log loss of held-out patients by more than a standard error."""
    losses = {method: patient_losses(validation, method) for method in allowed_methods(validation)}
    best = "identity"
    for method, loss in losses.items():
        gains = losses[best] - loss
        if gains.sum() > np.sqrt(len(gains)) * gains.std():
            best = method
    return best


def patient_losses(validation: Sample, method: str) -> Array:
    """(P,) log loss of each patient's scans, summed, after `cross_fit`."""
    own = np.take_along_axis(cross_fit(validation, method), validation.labels[:, None], axis=1)[:, 0]
    return np.bincount(validation.patients, weights=-np.log(np.maximum(own, SMALLEST_PROB)))


def cross_fit(validation: Sample, method: str) -> Array:
    """(n, K) corrected probabilities, those of each part of the patients by a correction fitted on the other parts."""
    parts, probs = patient_parts(validation)[validation.patients], validation.probs.copy()
    for part in range(NUM_PARTS if method != "identity" else 0):
        held, others = parts == part, validation.select(parts != part)
        fit = METHODS[method] if others.patients_of_class.min() else fit_temperature
        probs[held] = fit(others).apply(validation.probs[held])
    return probs


def patient_parts(validation: Sample) -> Array:
    """(P,) number of the part of each patient, dealt within class in an order that says nothing of the score.

    Dealt by score, the parts would have the same chance peaks, which a curve of the others would then foretell. The
    order comes from the last digits of the probabilities, so that it does not depend on the order of the rows.
    """
    counts = np.bincount(validation.patients)
    mean_prob = np.bincount(validation.patients, weights=validation.probs[:, -1]) / counts
    shuffled = np.sin(mean_prob * 1e5) * 1e5 % 1
    label = np.zeros(len(counts), dtype=int)
    np.maximum.at(label, validation.patients, validation.labels)
    parts = np.empty(len(counts), dtype=int)
    parts[np.lexsort((shuffled, label))] = np.arange(len(counts)) % NUM_PARTS
    return parts


def fit_identity(validation: Sample) -> Calibration:
    """No correction."""
    reason = f"none describes {validation.num_patients} validation patients better than the probabilities as predicted"
    return Calibration("identity", {"scale": [1.0], "shift": [0.0]}, validation.num_patients, reason)


def fit_temperature(validation: Sample) -> Calibration:
    """One number that all logits are divided by."""
    scores, rows = log_probs(validation.probs), np.arange(len(validation.labels))

    def loss(log_scale: float) -> float:
        return -log_softmax(scores * np.exp(log_scale), axis=1)[rows, validation.labels].mean()

    scale = float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))
    reason = f"{validation.num_patients} validation patients, best described by a temperature"
    return Calibration("temperature", {"scale": [scale], "shift": [0.0]}, validation.num_patients, reason)


def fit_platt(validation: Sample) -> Calibration:
    """A line on the logit; a temperature where the classes are separated and the line would be vertical."""
    intercept, slope = logistic_fit(validation.weighted())[0]
    if not np.isfinite(slope) or slope <= 0:
        return fit_temperature(validation)
    parameters = {"scale": [float(slope)], "shift": [0.0, float(intercept)]}
    reason = f"{validation.num_patients} validation patients, best described by a line on the logit"
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
    reason = f"{validation.num_patients} validation patients, best described by a scale and shift a class"
    return Calibration("vector", parameters, validation.num_patients, reason)


def fit_isotonic(validation: Sample) -> Calibration:
    """The rising steps nearest to the truth; kept off 0 and 1, which no sample can prove."""
    from sklearn.isotonic import IsotonicRegression

    margin = 1 / (2 * validation.num_patients)
    regression = IsotonicRegression(y_min=margin, y_max=1 - margin, out_of_bounds="clip")
    regression.fit(validation.probs[:, 1], validation.labels)
    parameters = {"stated": regression.X_thresholds_.tolist(), "observed": regression.y_thresholds_.tolist()}
    reason = f"{validation.num_patients} validation patients, best described by a rising curve"
    return Calibration("isotonic", parameters, validation.num_patients, reason)


METHODS = {
    "identity": fit_identity,
    "temperature": fit_temperature,
    "platt": fit_platt,
    "vector": fit_vector,
    "isotonic": fit_isotonic,
}


def log_probs(probs: Array) -> Array:
    """(n, K) -> (n, K); for two classes (0, logit), so that a scale and shift are those of the logit."""
    if probs.shape[1] == 2:
        return np.stack([np.zeros(len(probs)), logit(probs[:, 1])], axis=1)
    return np.log(np.maximum(probs, SMALLEST_PROB))
