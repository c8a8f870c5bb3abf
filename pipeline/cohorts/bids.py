"""BIDS: participants.tsv has a row a patient, and the file names say which scans are theirs."""

import pandas as pd

from pipeline.cohorts.label_table import with_hint
from pipeline.config import Columns

PARTICIPANT = "participant_id"
"""The standard's name; its values look like `sub-01`, as do the folders."""


def scan_rows(participants: pd.DataFrame, scans: list[str], suffix: str, columns: Columns) -> pd.DataFrame:
    """A row a scan, under the names that `columns` gives, from a row a patient.

    `scans` are paths relative to the dataset, such as `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`; those whose name
    ends in `_<suffix>` are taken, outside `derivatives/`. A patient without one keeps a row, whose path says so.
    Raises `ValueError` where there is no `participant_id`.
    """
    if PARTICIPANT not in participants.columns:
        known = ", ".join(participants.columns)
        raise ValueError(f"participants.tsv: no column {with_hint(PARTICIPANT, participants.columns)} among {known}.")
    found = scans_by_patient(scans, suffix)
    rows = []
    for patient in participants.to_dict("records"):
        patient_id = patient[PARTICIPANT]
        ids = {stem(path): path for path in found.get(patient_id, ())}
        for scan_id, path in (ids or {patient_id: f"{patient_id}/**/*_{suffix}.nii.gz"}).items():
            rows.append(patient | {columns.scan_id: scan_id, columns.patient_id: patient_id, columns.path: path})
    return pd.DataFrame(rows, dtype=str)


def scans_by_patient(scans: list[str], suffix: str) -> dict[str, list[str]]:
    """Paths in each folder at the top, which bears its patient's id, in the order given."""
    found: dict[str, list[str]] = {}
    for path in scans:
        if stem(path).endswith(f"_{suffix}"):
            found.setdefault(path.partition("/")[0], []).append(path)
    return found


def stem(path: str) -> str:
    """`sub-01_T1w` of `sub-01/anat/sub-01_T1w.nii.gz`."""
    return path.rpartition("/")[2].partition(".")[0]
