"""Groups: scans that may not be divided, because they share a patient, a family or another named group."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.columns import PATIENT_ID


def group_of_scans(table: pd.DataFrame, group_columns: Iterable[str] = ()) -> pd.Series:
    """Name of the group of each row: connected components of scans through their patients and group columns.

    A group is named after its smallest patient id, so names do not depend on the order of the rows. An empty cell
    links nothing.
    """
    scans, values = _links(table, (PATIENT_ID, *group_columns))
    num_nodes = len(table) + values.max(initial=-1) + 1
    edges = coo_array((np.ones(len(scans)), (scans, len(table) + values)), shape=(num_nodes, num_nodes))
    component = connected_components(edges, directed=False)[1][: len(table)]
    return table[PATIENT_ID].groupby(component).transform("min")


def _links(table: pd.DataFrame, columns: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """(row, value) for every filled cell; values are numbered over all columns."""
    rows, values, offset = [], [], 0
    for column in columns:
        codes = pd.factorize(table[column].where(table[column] != ""))[0]
        filled = np.flatnonzero(codes >= 0)
        rows.append(filled)
        values.append(codes[filled] + offset)
        offset += codes.max(initial=-1) + 1
    return np.concatenate(rows), np.concatenate(values)
