"""What a page says about kinds of patients."""

from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.wording import number


@dataclass(frozen=True)
class SubgroupRow:
    covariate: str
    group: str
    num_patients: int
    value: str
    range: str
    p_value: str
    reason: str


@dataclass(frozen=True)
class SubgroupPart:
    note: str
    rows: list[SubgroupRow]


def subgroup_part(table: pd.DataFrame | None) -> SubgroupPart | None:
    """Groups with a figure; those too small for one are counted, not listed."""
    if table is None or table.empty:
        return None
    judged = table[table["auroc"].notna()]
    too_small = len(table) - len(judged)
    note = difference_words(judged) + (f" {too_small} groups have too few patients to judge." if too_small else "")
    return SubgroupPart(note.strip(), [subgroup_row(row) for row in judged.to_dict("records")])


def difference_words(judged: pd.DataFrame) -> str:
    if judged["p_value"].isna().all():
        return ""
    differing = judged.loc[judged["adjusted_p_value"] < 0.05, "covariate"].unique()
    if len(differing):
        return f"The AUROC differs between groups of {', '.join(differing)}."
    return "No evidence that the AUROC differs between kinds of patients, which with few patients says little."


def subgroup_row(row: dict[str, object]) -> SubgroupRow:
    low, high = optional(row["low"]), optional(row["high"])
    return SubgroupRow(
        covariate=str(row["covariate"]),
        group=str(row["group"]),
        num_patients=int(row["num_patients"]),
        value=number(optional(row["auroc"])),
        range="" if low is None else f"{number(low)} to {number(high)}",
        p_value=number(optional(row["adjusted_p_value"])),
        reason="" if pd.isna(row["reason"]) else str(row["reason"]),
    )


def optional(value: object) -> float | None:
    """None for the empty cell of a table."""
    return None if pd.isna(value) else float(value)
