"""Groups that stay together in a split: patients and declared groups; and lists of patients seen elsewhere."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.columns import PATIENT_ID
from pipeline.core.ids import normalize_id
from pipeline.core.io import decode, expand


def group_of_scans(table: pd.DataFrame, group_columns: Iterable[str] = ()) -> pd.Series:
    """The name of each row's group: a connected component of scans that share a patient or a value of a group column.

    A group is named after its smallest patient id, so that names do not depend on the order of the rows. An empty cell
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


def read_patients(file: str, key: str) -> set[str]:
    """Normalized patient ids from a text file with one id per line; `$NAME` is read from the environment.

    `key` is the key of the config that an error names.
    """
    path = expand(file, key)
    if not path.is_file():
        raise FileNotFoundError(f"{key}: {path} does not exist; expected a file with one patient id per line.")
    return {normalize_id(line) for line in decode(path.read_bytes(), str(path)).splitlines() if line.strip()}
