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
    if table is None or table.empty:
        return None
    differing = table.loc[table["adjusted_p_value"] < 0.05, "covariate"].unique()
    note = (f"The AUROC differs between groups of {', '.join(differing)}." if len(differing)
            else "No evidence that the AUROC differs between kinds of patients, which with few patients says little.")
    return SubgroupPart(note, [subgroup_row(row) for row in table.to_dict("records")])


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
