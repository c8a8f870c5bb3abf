"""Several classes, or several labels per scan, as tables of two classes: this one, or not."""

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from pipeline.core.columns import LABEL, LABEL_SEPARATOR, PROB_PREFIX
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.predictions import prob_columns

OF_LABEL = "of_label"


def one_vs_rest_table(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with two classes, `no <name>` and `name`."""
    prob, kept = table[PROB_PREFIX + name], table.drop(columns=prob_columns(table))
    probs = {PROB_PREFIX + absent(name): 1 - prob, PROB_PREFIX + name: prob}
    return kept.assign(**{LABEL: presence(table[LABEL], name)}, **probs)


def absent(name: str) -> str:
    return f"no {name}"


def presence(labels: pd.Series, name: str) -> pd.Series:
    """`name` where it is among the labels of the scan, else `no <name>`."""
    return labels.map(lambda label: name if name in label.split(LABEL_SEPARATOR) else absent(name))


def covariates_of_class(covariates: Covariates | None, name: str) -> Covariates | None:
    """The covariates with this class against the rest as the label of splits.csv."""
    if covariates is None or covariates.splits is None:
        return covariates
    labels = presence(covariates.splits[LABEL], name)
    return replace(covariates, splits=covariates.splits.assign(**{LABEL: labels}))


def joined(tables: Mapping[str, pd.DataFrame | None]) -> pd.DataFrame | None:
    """One table with a column that names the class; None where no class has one."""
    parts = [table.assign(**{OF_LABEL: name}) for name, table in tables.items() if table is not None]
    return pd.concat(parts, ignore_index=True) if parts else None


def named(tables: Mapping[str, pd.DataFrame | None], column: str) -> pd.DataFrame | None:
    """One table, the class as a prefix of the values in `column`."""
    parts = [
        table.assign(**{column: [f"{name}: {value}" for value in table[column]]})
        for name, table in tables.items()
        if table is not None
    ]
    return pd.concat(parts, ignore_index=True) if parts else None
