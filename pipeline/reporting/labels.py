"""Figures in words: what a reader should take from a number, said aloud."""

from typing import Any

Entry = dict[str, Any]
Statement = tuple[str, str]

NAMES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "accuracy_at_even_odds": "Accuracy, more probable class",
    "majority_floor": "Majority floor of accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "positive_predictive_value": "Positive predictive value",
    "negative_predictive_value": "Negative predictive value",
    "positive_predictive_value_at_prevalence": "Positive predictive value at the stated prevalence",
    "negative_predictive_value_at_prevalence": "Negative predictive value at the stated prevalence",
    "f1": "F1",
    "mcc": "Matthews correlation",
    "kappa": "Cohen's kappa",
    "quadratic_kappa": "Quadratic kappa",
    "brier_score": "Brier score",
    "brier_miscalibration": "Brier score, lost to miscalibration",
    "brier_discrimination": "Brier score, gained by discrimination",
    "brier_uncertainty": "Brier score of the shares of the classes",
    "log_loss": "Log loss",
    "expected_calibration_error": "Expected calibration error",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "auroc_smallest_difference": "AUROC, smallest detectable difference",
    "conformal_coverage": "Coverage of conformal sets",
    "conformal_abstention_rate": "Abstention rate of conformal sets",
    "mean_grades_off": "Mean number of grades off",
    "auroc_from": "AUROC, this grade or above",
    "exact_match": "All labels right",
}
SPLIT_NAMES = {"test": "locked test set", "val": "validation", "train": "training set"}
CHANGED = {"calibrated_": "calibrated", "recalibrated_": "intercept fitted anew"}
"""What a metric's name may start with, and the words for it."""


def metric_name(name: str) -> str:
    """`calibrated_brier_score` -> `Brier score, calibrated`; `auroc_grade2` -> `AUROC, grade2`."""
    if name in NAMES:
        return NAMES[name]
    for prefix, words in CHANGED.items():
        if name.startswith(prefix):
            return f"{metric_name(name.removeprefix(prefix))}, {words}"
    known = max((key for key in NAMES if name.startswith(f"{key}_")), key=len, default=None)
    return f"{NAMES[known]}, {name.removeprefix(known + '_')}" if known else name


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits with a real minus sign."""
    return "—" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval(entry: Entry, digits: int = 3) -> str:
    if entry["low"] is None:
        return "no interval"
    return f"{number(entry['low'], digits)} to {number(entry['high'], digits)}"


def statements(headline: dict[str, Entry], split: str, confidence: float) -> list[Statement]:
    """(tone, sentence) about the headline figures; the tones are good, caution and bad."""
    said = [about_chance(headline["auroc"], confidence), about_floor(headline)]
    said += [about_calibration(headline), about_precision(headline["auroc"]), about_power(headline)]
    if split == "val":
        said.append(
            (
                "caution",
                "These are validation patients: epoch and threshold were chosen on them, so the "
                "figures flatter the model. No test set was predicted.",
            )
        )
    return [sentence for sentence in said if sentence]


def about_chance(auroc: Entry, confidence: float) -> Statement:
    if auroc["value"] is None:
        return "bad", f"The AUROC is undefined: {auroc['reason']}."
    if auroc["low"] is None:
        return "caution", f"The AUROC has no interval: {auroc['reason']}. Whether it beats chance is unknown."
    if auroc["low"] > 0.5:
        return "good", (
            f"The model ranks patients better than chance: the {confidence:.0%} interval of the AUROC lies above 0.5."
        )
    if auroc["high"] < 0.5:
        return "bad", (
            "The model ranks patients worse than chance: look for swapped classes or a cohort that differs "
            "between splits."
        )
    return "bad", (
        f"Not shown to beat chance: the {confidence:.0%} interval of the AUROC, {interval(auroc)}, includes 0.5."
    )


def about_floor(headline: dict[str, Entry]) -> Statement | None:
    accuracy, floor = headline["accuracy"], headline["majority_floor"]["value"]
    if accuracy["value"] is None or floor is None:
        return "caution", f"Accuracy is undefined: {accuracy['reason']}."
    if accuracy["value"] < floor:
        return "bad", (
            f"Accuracy is below the floor: {number(accuracy['value'])} against {number(floor)} for always "
            "naming the most common class. At this threshold accuracy is no evidence of use."
        )
    if accuracy["low"] is None or accuracy["low"] <= floor:
        return "caution", (
            f"Accuracy, {number(accuracy['value'])}, is not shown to beat its floor of {number(floor)}, "
            "which is always naming the most common class."
        )
    return "good", f"Accuracy, {number(accuracy['value'])}, is above its floor of {number(floor)}."


def about_calibration(headline: dict[str, Entry]) -> Statement | None:
    slope = headline.get("calibration_slope")
    if slope is None or slope["low"] is None:
        return None
    if slope["high"] < 1:
        return "caution", (
            f"Probabilities are overconfident (calibration slope {number(slope['value'], 2)}): "
            "read them as a ranking, or use the calibrated ones."
        )
    if slope["low"] > 1:
        return "caution", (
            f"Probabilities are too timid (calibration slope {number(slope['value'], 2)}): "
            "the truth is more certain than they say."
        )
    return None


def about_precision(auroc: Entry) -> Statement | None:
    if auroc["low"] is None or auroc["high"] - auroc["low"] <= 0.2:
        return None
    return "caution", (
        f"The interval of the AUROC is {number(auroc['high'] - auroc['low'], 2)} wide: "
        f"{auroc['num_patients']} patients say little more than the direction."
    )


def about_power(headline: dict[str, Entry]) -> Statement | None:
    smallest = headline.get("auroc_smallest_difference", {"value": None})
    if smallest["value"] is None:
        return None
    return "caution", (
        f"What these {smallest['num_patients']} patients can show: between two models, a difference of the AUROC under "
        f"{number(smallest['value'])} would often be missed."
    )
