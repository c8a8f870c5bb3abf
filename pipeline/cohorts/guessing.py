"""Which column of an unknown label table plays which role: by its name, and for paths by whether they lead to scans."""

import re
from pathlib import Path

import pandas as pd

from pipeline.config import Columns
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.errors import did_you_mean

NAMES = {
    SCAN_ID: ("scanid", "scan", "imageid", "image", "seriesid", "series", "sessionid", "caseid", "case", "id"),
    PATIENT_ID: ("patientid", "patient", "subjectid", "subject", "participantid", "participant", "pid", "person"),
    PATH: ("path", "file", "filename", "filepath", "nifti", "location"),
    LABEL: ("label", "class", "diagnosis", "target", "outcome", "group", "y"),
    "site": ("site", "center", "centre", "hospital", "institution"),
}
"""Usual names of a role, in plain spelling, the most telling first."""
CLINICAL = ("age", "sex", "gender", "weight", "height", "bmi")
ACQUISITION = ("scanner", "manufacturer", "model", "protocol", "fieldstrength", "sequence")
REQUIRED = (SCAN_ID, PATIENT_ID, PATH, LABEL)


def guess_columns(table: pd.DataFrame, scans: Path, given: dict[str, str]) -> Columns:
    """Roles of the table's columns; `given` ones are taken as they are.

    Raises `ValueError` that names every role without a column, with the option that gives it.
    """
    check_given(table, given)
    named = {role: column_named(table, names) for role, names in NAMES.items()}
    chosen = named | {PATH: column_of_paths(table, scans) or named[PATH]} | given
    missing = [role for role in REQUIRED if not chosen[role]]
    if missing:
        options = ", ".join(f"--{role.replace('_', '-')} COLUMN" for role in missing)
        advice = " Where no two scans share a patient, the patient is the scan." if PATIENT_ID in missing else ""
        found = f"no column found for {', '.join(missing)} among {', '.join(table.columns)}"
        raise ValueError(f"{found}; give {options}.{advice}")
    return Columns(**chosen, clinical=columns_named(table, CLINICAL), acquisition=columns_named(table, ACQUISITION))


def check_given(table: pd.DataFrame, given: dict[str, str]) -> None:
    for role, name in given.items():
        if name not in table.columns:
            hint = did_you_mean(name, table.columns)
            known = f"{hint} Known: {', '.join(table.columns)}."
            raise ValueError(f"--{role.replace('_', '-')}: no column '{name}'.{known}")


def column_of_paths(table: pd.DataFrame, scans: Path) -> str | None:
    """The column most of whose values are files or folders below `scans`."""
    found = {name: table[name].map(lambda value: leads_to_scan(scans, value)).mean() for name in table.columns}
    best = max(found, key=found.__getitem__)
    return best if found[best] > 0.5 else None


def leads_to_scan(scans: Path, value: str) -> bool:
    return bool(value) and (scans / value).exists()


def column_named(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """The column with the most telling of these names."""
    by_spelling = {plain(name): name for name in reversed(table.columns)}
    return next((by_spelling[name] for name in names if name in by_spelling), None)


def columns_named(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in table.columns if plain(name) in names)


def plain(name: str) -> str:
    """Letters and digits alone: Patient-ID, patient_id and PatientID are one."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
