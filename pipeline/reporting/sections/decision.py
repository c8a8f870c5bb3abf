"""What a page says about what was frozen on validation: threshold, calibration and conformal sets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.columns import FOLD, SEED
from pipeline.evaluation.curves import CAVEAT, SHOWN
from pipeline.evaluation.models_table import ALL, TOGETHER, spread
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.inputs import RunFacts
from pipeline.reporting.labels import metric_name, number

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


@dataclass(frozen=True)
class OperatingRow:
    rule: str
    threshold: str
    cells: list[str]
    """Value and interval of each column."""
    reason: str


@dataclass(frozen=True)
class OperatingPart:
    columns: list[str]
    rows: list[OperatingRow]


def operating_part(table: pd.DataFrame | None) -> OperatingPart | None:
    """A row a rule; None with more than two classes."""
    if table is None or table.empty:
        return None
    keys = [key for key in (OF_LABEL, "rule") if key in table]
    rows = [
        operating_row(", ".join([*labels, RULES[rule]]), group)
        for (*labels, rule), group in table.groupby(keys, sort=False)
    ]
    return OperatingPart([metric_name(name) for name in SHOWN], rows)


def operating_row(name: str, group: pd.DataFrame) -> OperatingRow:
    if group["metric"].isna().all():
        return OperatingRow(name, "none", ["" for _ in SHOWN], str(group["reason"].iloc[0]))
    found, caveat = group.set_index("metric"), group[CAVEAT].iloc[0]
    cells = [cell(found.loc[metric]) for metric in SHOWN]
    return OperatingRow(name, number(found["threshold"].iloc[0]), cells, "" if pd.isna(caveat) else str(caveat))


@dataclass(frozen=True)
class ModelRow:
    model: str
    num_patients: int
    cells: list[str]
    """Value and interval, or the reason why there is none, of each column."""


@dataclass(frozen=True)
class ModelPart:
    note: str
    columns: list[str]
    rows: list[ModelRow]


def model_part(table: pd.DataFrame | None) -> ModelPart | None:
    """A row a model; None where there is one alone, which the headline shows."""
    if table is None or len(table[[SEED, FOLD]].drop_duplicates()) < 2:
        return None
    metrics = list(dict.fromkeys(table["metric"]))
    keys = [key for key in (OF_LABEL, SEED, FOLD) if key in table]
    rows = [
        ModelRow(name_of(dict(zip(keys, key, strict=True))), int(group["num_patients"].iloc[0]), cells(group, metrics))
        for key, group in table.groupby(keys, sort=False)
    ]
    return ModelPart(spread_words(table), [metric_name(name) for name in metrics], rows)


def name_of(key: dict[str, object]) -> str:
    label = f"{key[OF_LABEL]}, " if OF_LABEL in key else ""
    fold = str(key[FOLD])
    if fold.startswith(TOGETHER):
        words = f"{fold} together"
    else:
        words = "folds together" if fold == ALL else f"fold {fold}"
    return f"{label}seed {key[SEED]}, {words}"


def cells(group: pd.DataFrame, metrics: list[str]) -> list[str]:
    found = group.set_index("metric")
    return [cell(found.loc[name]) for name in metrics]


def cell(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return f"undefined: {row['reason']}"
    return number(row["value"]) + ("" if pd.isna(row["low"]) else f" ({number(row['low'])} to {number(row['high'])})")


def spread_words(table: pd.DataFrame) -> str:
    """How far apart the models are, beside the interval, which is about patients."""
    if OF_LABEL in table:
        return ""
    said = []
    for by, words in ((SEED, "seeds"), (FOLD, "folds")):
        found = spread(table, by)
        if found is not None:
            low, high, deviation = found
            said.append(
                f"AUROCs of {words} go from {number(low)} to {number(high)}, standard deviation {number(deviation)}."
            )
    if table[SEED].nunique() < 2:
        said.append("With one seed, how much chance in training matters is not known.")
    return " ".join(said)
