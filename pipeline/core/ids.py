"""Ids of patients and scans: what people write in different ways, and tables that are joined by them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.io import read_json

if TYPE_CHECKING:
    from pandas import DataFrame

PATIENT_PREFIX = re.compile(r"^(subject|subj|sub|patient|pat|pt)(?=\d)")
LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
WHOLE_NUMBER = re.compile(r"(\d+)\.0+")
"""A number that a program made of an id, such as 7.0."""
MAX_NAMED = 3


def normalize_id(name: str) -> str:
    """An id without what people write in different ways: case, full-width letters, separators, leading zeros, `sub`.

    `sub-0012`, `SUB 12`, `12.0` and `12` become equal; `A12` and `B12` do not.
    """
    letters = unicodedata.normalize("NFKC", name).casefold().strip()
    letters = WHOLE_NUMBER.sub(r"\1", letters) if WHOLE_NUMBER.fullmatch(letters) else letters
    return LEADING_ZEROS.sub("", PATIENT_PREFIX.sub("", re.sub(r"[\W_]+", "", _keep_number_gaps(letters))))


def _keep_number_gaps(text: str) -> str:
    """A separator between two digits is kept as a letter, because `1-12` is not `112`."""
    return re.sub(r"(?<=\d)[\W_]+(?=\d)", "x", text)


def spelling_variants(names: Iterable[str]) -> list[list[str]]:
    """Lists of ids that differ only in spelling."""
    variants: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        variants.setdefault(normalize_id(name), []).append(name)
    return [ids for ids in variants.values() if len(ids) > 1]


def check_join(names: Iterable[str], known: Iterable[str], *, what: str, where: str) -> list[str]:
    """Those of `names` that are not among the `known` ids of the table `where`; `what` is patient or scan.

    Raises ValueError if no name is known, or if one is known in another spelling: a join would leave it out silently.
    """
    wanted, listed = set(names), set(known)
    missing = sorted(wanted - listed)
    spelled = {normalize_id(name): name for name in sorted(listed - wanted)}
    pairs = [(name, spelled[key]) for name in missing if (key := normalize_id(name)) in spelled]
    if pairs:
        found = ", ".join(f"'{name}' is there as '{other}'" for name, other in pairs[:MAX_NAMED])
        raise ValueError(
            f"{where}: {len(pairs)} of {len(wanted)} {what}s are written in another way, {found}; write each id alike."
        )
    if wanted and len(missing) == len(wanted):
        example = f", but '{min(listed)}'" if listed else ""
        raise ValueError(
            f"{where}: none of the {len(wanted)} {what}s is there, not '{missing[0]}'{example}; give the table of "
            f"these {what}s."
        )
    return missing


def check_as_ingested(table: "DataFrame", path: Path, stage: str) -> None:
    """Raise ValueError for a table of a cohort with another number of scans than ingest counted in the file beside it.

    `stage` writes the table.
    """
    summary = path.with_name("ingest.json")
    expected = read_json(summary, "num_scans")["num_scans"] if summary.is_file() else len(table)
    if len(table) != expected:
        raise ValueError(f"{path}: {len(table)} rows, ingest counted {expected} scans; run 'dvc repro {stage}' again.")


def check_filled(table: "DataFrame", columns: Sequence[str], where: str) -> None:
    """Raise ValueError for an empty table, or an empty id: the rows without one would be one patient."""
    if table.empty:
        raise ValueError(f"{where}: no rows, expected one a patient or scan; was the file cut off?")
    for column in columns:
        blank = table.index[table[column].str.strip() == ""]
        if len(blank):
            rows = ", ".join(str(row + 2) for row in blank[:MAX_NAMED])
            raise ValueError(
                f"{where}: {len(blank)} rows have no {column}, such as row {rows}; give every row its {column}."
            )
