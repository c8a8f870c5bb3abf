"""The threshold from which the positive class is predicted: chosen on validation, then fixed.

A threshold chosen on the patients that it is evaluated on is optimistic, as validation metrics at their own threshold
are. The test set is never used for the choice.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.settings import Settings

RULES = ("youden", "sensitivity", "specificity", "cost")
MOST_PROBABLE = "most_probable"
"""The rule without a threshold, for more than two classes."""
DEFAULT_THRESHOLD = 0.5
APPROXIMATE = "approximate, since each validation patient has one model's probability and a test patient the mean of {}"
PATIENTS_FOR_THRESHOLD = 10
"""Of each class; chosen on fewer, a threshold has a sensitivity that chance decides."""
STRICT_TARGET = 0.95
PATIENTS_FOR_STRICT_TARGET = 40
"""With fewer patients of the class, 19 of 20 cannot be distinguished from all."""


@dataclass(frozen=True)
class OperatingPoint:
    """A fixed threshold, or the reason why there is none or another than requested."""

    rule: str
    threshold: float | None
    reason: str | None = None


def choose_operating_point(
    validation: Sample | None, settings: Settings, num_classes: int, num_models: int = 1
) -> OperatingPoint:
    """The threshold by the rule of the settings; the default with a reason where there are no patients to choose on."""
    if num_classes > 2:
        return OperatingPoint(MOST_PROBABLE, None, "with several classes the most probable one is called")
    if validation is None:
        return OperatingPoint("default", DEFAULT_THRESHOLD, "the table has no validation rows to choose a threshold on")
    rarest = int(validation.patients_of_class.argmin())
    count = int(validation.patients_of_class[rarest])
    if count < PATIENTS_FOR_THRESHOLD:
        name = validation.class_names[rarest]
        reason = f"{count} validation patients of class '{name}', a threshold needs {PATIENTS_FOR_THRESHOLD} of each"
        return OperatingPoint("default", DEFAULT_THRESHOLD, reason)
    concerned = {"sensitivity": 1, "specificity": 0}.get(settings.operating_point)
    if concerned is not None and settings.operating_target >= STRICT_TARGET:
        count = validation.patients_of_class[concerned]
        if count < PATIENTS_FOR_STRICT_TARGET:
            return OperatingPoint(
                settings.operating_point,
                None,
                (
                    f"a {settings.operating_point} of {settings.operating_target:g} needs {PATIENTS_FOR_STRICT_TARGET} "
                    f"validation patients of class '{validation.class_names[concerned]}', got {count}"
                ),
            )
    approximate = APPROXIMATE.format(num_models) if num_models > 1 else None
    return OperatingPoint(settings.operating_point, best_threshold(validation, settings), approximate)


def best_threshold(validation: Sample, settings: Settings) -> float:
    """The threshold that the rule prefers on validation; of equals, the one nearest to 0.5."""
    thresholds = candidates(validation.probs[:, 1])
    sensitivity, specificity = rates(validation, thresholds)
    preference = {
        "youden": lambda: sensitivity + specificity,
        "sensitivity": lambda: np.where(sensitivity >= settings.operating_target, specificity, -1),
        "specificity": lambda: np.where(specificity >= settings.operating_target, sensitivity, -1),
        "cost": lambda: -expected_cost(validation, sensitivity, specificity, settings.miss_cost),
    }[settings.operating_point]()
    best = thresholds[np.isclose(preference, preference.max(), rtol=0, atol=1e-12)]
    return float(best[np.abs(best - DEFAULT_THRESHOLD).argmin()])


def candidates(probs: Array) -> Array:
    """Midpoints of neighboring probabilities, so that no scan is at one, and two that predict all or none."""
    distinct = np.unique(probs)
    return np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [np.nextafter(1, 2)]])


def rates(sample: Sample, thresholds: Array) -> tuple[Array, Array]:
    """Sensitivity and specificity at each threshold."""
    positives = np.sort(sample.probs[sample.labels == 1, 1])
    negatives = np.sort(sample.probs[sample.labels == 0, 1])
    missed = np.searchsorted(positives, thresholds, side="left")
    passed = np.searchsorted(negatives, thresholds, side="left")
    return 1 - missed / len(positives), passed / len(negatives)


def expected_cost(sample: Sample, sensitivity: Array, specificity: Array, miss_cost: float) -> Array:
    """Expected false positives plus weighted misses, per row."""
    prevalence = (sample.labels == 1).mean()
    return miss_cost * prevalence * (1 - sensitivity) + (1 - prevalence) * (1 - specificity)
