"""BIDS: participants.tsv has one row per patient or session, and file names give the scans of each."""

import pandas as pd

from pipeline.cohorts.label_table import quote_with_hint
from pipeline.config import Columns

PARTICIPANT = "participant_id"
"""The standard's name of the column; its values, such as `sub-01`, are also names of folders."""

SESSION = "session_id"
"""Column of a table with a row per session, such as `ses-1`."""


def scan_rows(participants: pd.DataFrame, scans: list[str], suffix: str, columns: Columns) -> pd.DataFrame:
    """One row per scan, with the column names of `columns`, from one row per patient, or per session of a patient.

    `scans` are paths relative to the dataset, such as `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`; those whose name
    ends in `_<suffix>` are taken. Ids may lack the `sub-` and `ses-` of their folders. A row without a scan stays, with
    the pattern that matched nothing as its path. Raises `ValueError` if there is no column `participant_id`.
    """
    if PARTICIPANT not in participants.columns:
        known = ", ".join(participants.columns)
        raise ValueError(
            f"participants.tsv: no column {quote_with_hint(PARTICIPANT, participants.columns)} among {known}."
        )
    found = scans_by_patient(scans, suffix)
    rows = []
    for patient in participants.to_dict("records"):
        patient_id, session = patient[PARTICIPANT], patient.get(SESSION, "")
        folder = labeled(patient_id, "sub-")
        paths = [path for path in found.get(folder, ()) if not session or is_of_session(path, labeled(session, "ses-"))]
        where = f"{folder}/{labeled(session, 'ses-')}" if session else folder
        ids = {stem(path): path for path in paths} or {where.replace("/", "_"): f"{where}/**/*_{suffix}.nii.gz"}
        for scan_id, path in ids.items():
            rows.append(patient | {columns.scan_id: scan_id, columns.patient_id: patient_id, columns.path: path})
    return pd.DataFrame(rows, dtype=str)


def labeled(name: str, prefix: str) -> str:
    """`sub-01` for 01, as folders are called."""
    return name if name.startswith(prefix) else prefix + name


def is_of_session(path: str, session: str) -> bool:
    return f"/{session}/" in path or f"_{session}_" in path


def scans_by_patient(scans: list[str], suffix: str) -> dict[str, list[str]]:
    """Paths by top-level folder, which is named by its patient's id, in the given order."""
    found: dict[str, list[str]] = {}
    for path in scans:
        if stem(path).endswith(f"_{suffix}"):
            found.setdefault(path.partition("/")[0], []).append(path)
    return found


def stem(path: str) -> str:
    """`sub-01_T1w` of `sub-01/anat/sub-01_T1w.nii.gz`."""
    return path.rpartition("/")[2].partition(".")[0]
