"""Eight sound scans of four patients, two a class, and their table."""

import csv

from pipeline.config import Cohort
from pipeline.core.paths import CohortPaths

HEADER = ["scan_id", "patient_id", "path", "label"]
ROWS = [[f"{number:03}", f"p{number // 2}", f"scans/{number:03}.nii.gz", "ill" if number > 3 else "fit"]
        for number in range(8)]  # fmt: skip


def cohort(**changes) -> Cohort:
    source = {"kind": "folder", "scans": "unused", "table": "unused"}
    common = {"name": "tiny", "source": source, "modality": "MR", "laterality": "relevant", "positive_class": "fit"}
    return Cohort.model_validate(common | changes)


def write_table(paths: CohortPaths, rows: list[list[str]]) -> None:
    with paths.labels.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def changed(row: int, **cells: str) -> list[list[str]]:
    """The sound table with some cells of one row replaced."""
    rows = [dict(zip(HEADER, cells_of_row, strict=True)) for cells_of_row in ROWS]
    rows[row] |= cells
    return [HEADER, *([row[name] for name in HEADER] for row in rows)]
