"""What a page says about each fitted model by itself: folds and seeds."""

from dataclasses import dataclass

import pandas as pd

from pipeline.core.columns import FOLD, SEED
from pipeline.evaluation.models_table import ALL, TOGETHER, spread
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.wording import metric_name, number


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
