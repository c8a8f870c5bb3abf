"""The headline panel: one table of what a reader needs first, in the order in which to read it.

After Van Calster et al., Lancet Digital Health 2025 (measures of discrimination, calibration, overall performance and
clinical utility) and TRIPOD+AI (BMJ 2024;385:e078378). It selects from what was computed; report and tracker draw it.
F1 and balanced accuracy are not in it: they mix the two kinds of errors at a weight that nobody chose.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from pipeline.evaluation.decision_rule import FittedOnValidation
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.evaluation.registry import INTENDED, USABLE, WITHOUT_TWINS
from pipeline.evaluation.uncertainty.estimates import Entry

CLASS, NOTE, CALIBRATED = "class", "note", "calibrated"
FIELDS = ("value", "low", "high", "reason")
COLUMNS = [
    *("group", "metric", CLASS, "at", *FIELDS, "num_patients", NOTE),
    *(f"{CALIBRATED}_{field}" for field in FIELDS),
]
"""`at` is the threshold or the prevalence; `class` is filled where the row is about one of several."""
NET_BENEFIT = "net_benefit"
TWO_CLASSES = "defined for two classes"
AT_PREVALENCE = "_at_prevalence"
GROUPS = {
    "Discrimination": {
        "auroc": "0.5 by chance",
        "quadratic_kappa": "0 by chance",
        "mean_absolute_error": "0 is perfect",
    },
    "Calibration": {
        "observed_expected_ratio": "1 is perfect; above, risk is underestimated",
        "calibration_intercept": "0 is perfect; above, risk is underestimated",
        "calibration_slope": "1 is perfect; below, overconfident",
    },
    "Overall": {"brier_score": "", "brier_skill_score": "0 is no better than the class shares, 1 is perfect"},
    "Decisions at the frozen threshold": {
        "sensitivity": "",
        "specificity": "",
        "positive_likelihood_ratio": "factor of the odds after a positive prediction",
        "negative_likelihood_ratio": "factor of the odds after a negative prediction",
        f"positive_predictive_value{AT_PREVALENCE}": "",
        f"negative_predictive_value{AT_PREVALENCE}": "",
    },
    "Clinical utility": {NET_BENEFIT: ""},
    "Failed and indeterminate": {
        USABLE: "of all scans in the label table; the others failed or were refused",
        **dict.fromkeys(
            [f"{INTENDED}accuracy", f"{INTENDED}exact_match", f"{INTENDED}sensitivity", f"{INTENDED}specificity"],
            "",
        ),
        "conformal_abstention_rate": "indeterminate: a set of several classes or of none",
    },
    "Without near twins in training": dict.fromkeys(
        [WITHOUT_TWINS + name for name in ("auroc", "sensitivity", "specificity", "brier_score")], ""
    ),
}
"""Metrics by group, each with what it is to be compared with."""
ONLY_SOMETIMES = {
    *("quadratic_kappa", "mean_absolute_error", f"{INTENDED}accuracy", f"{INTENDED}exact_match"),
    *(WITHOUT_TWINS + name for name in ("sensitivity", "specificity", "brier_score")),
}
"""Rows that are left out where the evaluation has no such figure; every other one has a reason."""
NOTHING: Mapping[str, None] = {"value": None}
OF_CLASS = (
    *("auroc", "observed_expected_ratio", "calibration_intercept", "calibration_slope", "brier_skill_score"),
    *("sensitivity", "specificity", "positive_likelihood_ratio", "negative_likelihood_ratio"),
    *(f"positive_predictive_value{AT_PREVALENCE}", f"negative_predictive_value{AT_PREVALENCE}"),
    *(USABLE, f"{INTENDED}sensitivity", f"{INTENDED}specificity", "conformal_abstention_rate"),
)
"""Rows of each of several classes or labels."""


def headline_table(evaluation: Evaluation) -> pd.DataFrame:
    """The panel of the headline's split and level; everything null has a reason."""
    split, level = evaluation.headline
    entries = evaluation.metrics[split][level]
    rows = [
        row
        for group, metrics in GROUPS.items()
        for metric, note in metrics.items()
        for row in (
            net_benefit_rows(evaluation, group)
            if metric == NET_BENEFIT
            else metric_rows(entries, group, metric, note, at_of(metric, evaluation))
        )
    ]
    rows += class_rows(entries, evaluation.classes)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def at_of(metric: str, evaluation: Evaluation) -> float | None:
    """The prevalence or the threshold that the metric holds at, None where it needs none or each part has its own."""
    if metric.endswith(AT_PREVALENCE):
        return evaluation.settings.prevalence
    fitted = evaluation.fitted[evaluation.headline[1]]
    needs_one = metric in GROUPS["Decisions at the frozen threshold"]
    return fitted.point.threshold if needs_one and isinstance(fitted, FittedOnValidation) else None


def metric_rows(
    entries: Mapping[str, Entry], group: str, metric: str, note: str, at: float | None
) -> Iterator[dict[str, object]]:
    """One row, or none where the evaluation has no such metric and need not."""
    if metric in ONLY_SOMETIMES and entries.get(metric, NOTHING)["value"] is None:
        return
    if metric == "brier_score" and "brier_uncertainty" in entries:
        floor = entries["brier_uncertainty"]["value"]
        note = "" if floor is None else f"floor {floor:.3f}, of stating the class shares"
    found = entries.get(metric) or missing_entry(metric, entries)
    after = {f"{CALIBRATED}_{field}": value for field, value in entries.get(f"calibrated_{metric}", {}).items()}
    yield {"group": group, "metric": metric, "at": at, **found, NOTE: note, **after}


def missing_entry(metric: str, entries: Mapping[str, Entry]) -> Entry:
    """Null, with the reason why the evaluation does not have the metric."""
    if any(name.startswith(f"{metric}_") for name in entries):
        reason = "of each class, below"
    elif metric.endswith(AT_PREVALENCE):
        reason = "evaluation.prevalence declares none, or there are more than two classes"
    elif metric.startswith((INTENDED, USABLE)):
        reason = "a table of predictions does not say which scans failed"
    elif metric.startswith(WITHOUT_TWINS):
        reason = "no test patients were predicted, or their near twins are not known"
    else:
        reason = TWO_CLASSES
    return Entry(value=None, low=None, high=None, num_patients=0, reason=reason)


def net_benefit_rows(evaluation: Evaluation, group: str) -> Iterator[dict[str, object]]:
    """Both ends of the declared range and its middle."""
    curve, split_level = evaluation.plots["decision_curve"], evaluation.headline
    entries = evaluation.metrics[split_level[0]][split_level[1]]
    row = {"group": group, "metric": NET_BENEFIT, "num_patients": entries["auroc"]["num_patients"]}
    if NET_BENEFIT not in curve or OF_LABEL in curve:
        yield row | {"reason": "of each label, in its decision curve" if OF_LABEL in curve else TWO_CLASSES}
        return
    thresholds = curve["threshold"].to_numpy()
    middle = int(np.abs(thresholds - (thresholds[0] + thresholds[-1]) / 2).argmin())
    for point in curve.iloc[[0, middle, len(curve) - 1]].to_dict("records"):
        note = f"acting on everybody {point['act_on_everybody']:.3f}, on nobody 0"
        reason = "too few patients of a class or above the threshold" if np.isnan(point["low"]) else None
        found = {"value": point[NET_BENEFIT], "low": point["low"], "high": point["high"], "reason": reason}
        yield row | {"at": point["threshold"], **found, NOTE: note}


def class_rows(entries: Mapping[str, Entry], classes: tuple[str, ...]) -> list[dict[str, object]]:
    """Each of several classes or labels against the rest; of two classes, the share with a usable scan."""
    is_several = any(f"auroc_{name}" in entries for name in classes)
    group = "Each class" if is_several else "Failed and indeterminate"
    return [
        {"group": group, "metric": metric, CLASS: name, **entries[f"{metric}_{name}"]}
        for name in classes
        for metric in OF_CLASS
        if f"{metric}_{name}" in entries
    ]
