"""What a page says about simple predictors: of the tables' columns, or of the image at a glance."""

from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.parts.subgroup import optional
from pipeline.reporting.wording import Statement, number


@dataclass(frozen=True)
class FloorRow:
    name: str
    columns: str
    value: str
    range: str
    advantage: str
    reason: str


def floor_rows(table: pd.DataFrame | None) -> list[FloorRow]:
    return [] if table is None else [floor_row(row) for row in table.to_dict("records")]


def floor_row(row: dict[str, object]) -> FloorRow:
    return FloorRow(
        name=str(row["name"]),
        columns="" if pd.isna(row["columns"]) else str(row["columns"]),
        value=number(optional(row["auroc"])),
        range=span(row["low"], row["high"]),
        advantage=advantage(row),
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def span(low: object, high: object) -> str:
    return "" if pd.isna(low) else f"{number(optional(low))} to {number(optional(high))}"


def advantage(row: dict[str, object]) -> str:
    if pd.isna(row["advantage"]):
        return ""
    return f"{number(optional(row['advantage']))} ({span(row['advantage_low'], row['advantage_high'])})"


def floor_statements(table: pd.DataFrame | None) -> list[Statement]:
    """Cautions that a floor calls for."""
    if table is None:
        return []
    said = []
    for row in table.to_dict("records"):
        if row["name"] == "acquisition" and row["low"] > 0.5:
            reach = f"AUROC {number(row['auroc'])}, {span(row['low'], row['high'])}"
            said.append(
                (
                    "caution",
                    f"How the scans were made predicts the label by itself ({reach}): a shortcut is "
                    "available to the model, and may be used.",
                )
            )
        elif row["low"] > 0.5 and row["advantage_low"] <= 0:
            said.append(
                (
                    "caution",
                    f"The model is not shown to beat a logistic regression on {row['name']}, which reaches an AUROC of "
                    f"{number(row['auroc'])}.",
                )
            )
    return said
