"""What a page says about what was frozen on validation: threshold, calibration and conformal sets."""

from collections.abc import Callable
from typing import Any

from pipeline.reporting.gathering import RunFacts

RULES = {
    "youden": "the best sum of sensitivity and specificity",
    "cost": "the lowest expected cost",
    "sensitivity": "the sensitivity asked for",
    "specificity": "the specificity asked for",
}
Json = dict[str, Any]


def decision_words(run: RunFacts) -> str:
    """How classes were called."""
    if not run.operating_points:
        return "The operating point is not available; 'python -m pipeline.evaluate' writes it."
    return by_label(run.operating_points[run.headline_level], "rule", point_words)


def by_label(frozen: Json, own_key: str, words: Callable[[Json], str]) -> str:
    """The words; of each label where a scan has several, each with something frozen of its own."""
    if own_key in frozen:
        return words(frozen)
    return " ".join(f"{label}: {words(own)}" for label, own in frozen.items())


def point_words(point: Json) -> str:
    if point["threshold"] is None:
        return f"No threshold: {point['reason']}."
    called = f"The positive class is called from a probability of {point['threshold']:.3f}"
    if point["rule"] not in RULES:
        return f"{called}: {point['reason']}."
    caveat = f"; {point['reason']}" if point["reason"] else ""
    return f"{called}, chosen on validation for {RULES[point['rule']]} and frozen there{caveat}."


def threshold(run: RunFacts) -> float | None:
    """The headline's, where there is one for all."""
    point = run.operating_points[run.headline_level] if run.operating_points else {}
    return point.get("threshold")


def calibration_words(run: RunFacts) -> str:
    if not run.calibrations:
        return "No calibration is available."
    fitted = run.calibrations[run.headline_level]
    models = [model for model in fitted.values() if "method" in model]
    if not models:
        return " ".join(f"{label}: {models_words(list(own.values()))}" for label, own in fitted.items())
    return models_words(models)


def models_words(models: list[Json]) -> str:
    plain = next((model for model in models if model["method"] == "none"), None)
    if plain is not None:
        return f"Probabilities were not calibrated: {plain['reason']}."
    methods = " and ".join(sorted({model["method"] for model in models}))
    if len(models) > 1:
        return f"The probabilities of each of {len(models)} models were calibrated ({methods}) before they were pooled."
    return f"Calibrated figures use {methods} calibration, fitted on validation: {models[0]['reason']}."


def conformal_words(run: RunFacts) -> str:
    """What the sets promise, and how far a sample of this size may be off."""
    if not run.conformal:
        return "Conformal sets are not available; 'python -m pipeline.evaluate' fits them."
    return by_label(run.conformal[run.headline_level], "coverage", set_words)


def set_words(fitted: Json) -> str:
    if fitted["reason"]:
        return f"No conformal sets: {fitted['reason']}."
    shall = f"Conformal sets shall hold the true class of {fitted['coverage']:.0%} of the patients of each class"
    abstention = "A set that is not one single class is an abstention."
    if fitted.get("caveat"):
        return f"{shall}; {fitted['caveat']}. {abstention}"
    ranges = ", ".join(
        f"{low:.0%} and {high:.0%} of {name} ({fitted['num_patients'][name]} validation patients)"
        for name, (low, high) in fitted["expected_range"].items()
    )
    return f"{shall}. Limits from so many patients keep between {ranges}. {abstention}"
