"""What a page says about every rule for an operating point."""

from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.curves import CAVEAT, SHOWN
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.parts.frozen import RULES
from pipeline.reporting.parts.model import cell
from pipeline.reporting.wording import metric_name, number


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
