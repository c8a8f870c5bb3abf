"""Groups that stay together in a split: patients, declared groups, and spellings of one patient id."""

import re
import unicodedata
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.columns import PATIENT_ID
from pipeline.core.io import expand

PATIENT_PREFIX = re.compile(r"^(subject|subj|sub|patient|pat|pt)(?=\d)")
LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


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


def normalize_patient_id(patient_id: str) -> str:
    """An id without what people write in different ways: case, full-width letters, separators, leading zeros, `sub`.

    `sub-0012`, `SUB 12` and `12` become equal; `A12` and `B12` do not.
    """
    letters = unicodedata.normalize("NFKC", patient_id).casefold()
    return LEADING_ZEROS.sub("", PATIENT_PREFIX.sub("", re.sub(r"[\W_]+", "", _keep_number_gaps(letters))))


def _keep_number_gaps(text: str) -> str:
    """A separator between two digits is kept as a letter, because `1-12` is not `112`."""
    return re.sub(r"(?<=\d)[\W_]+(?=\d)", "x", text)


def spelling_variants(patient_ids: Iterable[str]) -> list[list[str]]:
    """Lists of ids that differ only in spelling."""
    variants: dict[str, list[str]] = {}
    for patient_id in sorted(set(patient_ids)):
        variants.setdefault(normalize_patient_id(patient_id), []).append(patient_id)
    return [ids for ids in variants.values() if len(ids) > 1]


def read_patients(file: str, key: str) -> set[str]:
    """Normalized patient ids from a text file with one id per line; `$NAME` is read from the environment.

    `key` is the key of the config that an error names.
    """
    path = expand(file, key)
    if not path.exists():
        raise FileNotFoundError(f"{key}: {path} does not exist; expected a file with one patient id per line.")
    return {normalize_patient_id(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()}
