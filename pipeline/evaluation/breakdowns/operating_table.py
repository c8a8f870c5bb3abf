"""Every rule for an operating point beside each other: chosen on validation, applied as it is to the split shown."""

from dataclasses import replace

import pandas as pd

from pipeline.evaluation.fitted.operating_point import RULES, choose_operating_point
from pipeline.evaluation.precision.catalogue import catalogue
from pipeline.evaluation.precision.estimates import estimate_metrics
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Sample

OPERATING_POINTS = "operating_points"
"""Name of the table among the plots."""
SHOWN = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
CAVEAT = "caveat"
"""Column that says what a threshold from several models' validation patients is worth."""
COLUMNS = ["rule", "threshold", "metric", "value", "low", "high", "num_patients", "reason", CAVEAT]


def operating_table(validation: Sample | None, shown: Sample, settings: Settings, num_models: int = 1) -> pd.DataFrame:
    """A row a rule and figure, or the reason why the rule has no threshold; no rows for more than two classes."""
    if not shown.is_binary:
        return pd.DataFrame(columns=COLUMNS)
    by_rule = {rule: replace(settings, operating_point=rule) for rule in RULES}
    rows = [row for chosen in by_rule.values() for row in rule_rows(validation, shown, chosen, num_models)]
    return pd.DataFrame(rows, columns=COLUMNS)


def rule_rows(validation: Sample | None, shown: Sample, settings: Settings, num_models: int) -> list[dict[str, object]]:
    point = choose_operating_point(validation, settings, shown.num_classes, num_models)
    if point.threshold is None or point.rule != settings.operating_point:
        return [{"rule": settings.operating_point, "reason": point.reason}]
    sample = replace(shown, threshold=point.threshold)
    metrics = {name: metric for name, metric in catalogue(sample, settings).items() if name in SHOWN}
    return [
        {"rule": point.rule, "threshold": point.threshold, "metric": name, **found.entry(), CAVEAT: point.reason}
        for name, found in estimate_metrics(sample, metrics, settings).items()
    ]
