"""`cohort.csv` as the stages after ingest read it."""

from pathlib import Path

import pandas as pd


def read_cohort(path: Path) -> pd.DataFrame:
    """One row a scan, all text: a label 'NA' or an id '007' is read as it was written."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; 'dvc repro ingest' writes it.")
    return pd.read_csv(path, dtype=str, keep_default_na=False)
