"""Groups that are never divided: patients, declared groups, spellings of one id."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.columns import PATIENT_ID
from pipeline.core.io import expand


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


PREFIX = re.compile(r"^(subject|subj|sub|patient|pat|pt)(?=\d)")
ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def plain_spelling(patient_id: str) -> str:
    """An id without what people vary: case, accents of width, separators, leading zeros and the word for patient.

    `sub-0012`, `SUB 12` and `12` are one; `A12` and `B12` are not.
    """
    letters = unicodedata.normalize("NFKC", patient_id).casefold()
    return ZEROS.sub("", PREFIX.sub("", re.sub(r"[\W_]+", "", _keep_number_gaps(letters))))


def _keep_number_gaps(text: str) -> str:
    """`1-12` is not `112`: a separator between two digits stands for something."""
    return re.sub(r"(?<=\d)[\W_]+(?=\d)", "x", text)


def respelled(patient_ids: Iterable[str]) -> list[list[str]]:
    """Ids that differ in spelling alone, together."""
    by_spelling: dict[str, list[str]] = {}
    for patient_id in sorted(set(patient_ids)):
        by_spelling.setdefault(plain_spelling(patient_id), []).append(patient_id)
    return [ids for ids in by_spelling.values() if len(ids) > 1]


def read_patients(file: str, key: str) -> set[str]:
    """Patients of a text file, one a line, in plain spelling; `$NAME` is read from the environment.

    `key` of the config is what an error names.
    """
    path = expand(file, key)
    if not path.exists():
        raise FileNotFoundError(f"{key}: {path} does not exist; expected one patient id a line.")
    return {plain_spelling(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()}
