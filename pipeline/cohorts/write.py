"""Write `cohort.csv`, one verified row per scan, and `ingest.json`, how it was derived from the label table."""

from collections import Counter
from typing import Any

import pandas as pd

from pipeline.cohorts.scan_index import CheckedRows, with_relative_paths
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.io import write_csv, write_json
from pipeline.core.paths import CohortPaths
from pipeline.imaging.problems import Problem
from pipeline.imaging.validation import ScanFacts
from pipeline.imaging.value_range import as_columns

Entry = dict[str, str | None]
"""A problem in ingest.json: scan_id (null for a problem of the table), code, verdict, message."""


def write_cohort(paths: CohortPaths, rows: CheckedRows) -> None:
    """Write the rows of usable scans, with the measurements of each."""
    table = rows.usable.reset_index(drop=True)
    table = pd.DataFrame([with_relative_paths(row, paths.raw) for row in table.to_dict("records")])
    measured = pd.DataFrame([measure(check.facts, check.problems) for check in rows.checks if check.facts])
    write_csv(paths.cohort, pd.concat([table, measured], axis=1))


def measure(facts: ScanFacts, warnings: tuple[Problem, ...]) -> dict[str, str]:
    """The measured columns of a row: sizes as `256x256x180`, warnings as codes separated by spaces."""
    return {
        "shape": "x".join(str(size) for size in facts.shape),
        "spacing_mm": "x".join(f"{size:.6g}" for size in facts.spacing_mm),
        "orientation": facts.orientation,
        "dtype": facts.dtype,
        **as_columns(facts.values),
        "file_sha256": facts.file_sha256,
        "voxel_sha256": facts.voxel_sha256,
        "warnings": " ".join(problem.code for problem in warnings),
    }


def write_summary(
    paths: CohortPaths,
    rows: CheckedRows,
    task: str,
    classes: tuple[str, ...],
    problems: list[Entry],
    without_row: list[str],
) -> None:
    """Write task, classes in order, counts, every problem, excluded rows, and the steps of the flow diagram."""
    counts = {"num_scans": len(rows.usable), "num_patients": int(rows.usable[PATIENT_ID].nunique())}
    lists = {
        "problems": problems,
        "scans_without_row": without_row,
        "excluded": excluded(rows),
        "flow": flow(rows),
    }
    write_json(paths.ingest, {"task": task, "classes": list(classes), **counts, **lists})


def excluded(rows: CheckedRows) -> list[Entry]:
    """Excluded rows, each with the reason."""
    return [
        {
            **{name: row[name] for name in (SCAN_ID, PATIENT_ID, PATH, LABEL)},
            "code": reason.code,
            "message": reason.message,
        }
        for row, check in rows.items()
        if (reason := check.rejection)
    ]


def flow(rows: CheckedRows) -> list[dict[str, Any]]:
    """Steps from the table to the cohort, each with its counts of scans and patients."""
    codes = [check.rejection.code if check.rejection else None for check in rows.checks]
    steps = [("rows in the label table", rows.table)]
    for code in Counter(code for code in codes if code):
        steps.append((f"excluded: {code}", rows.table[[other == code for other in codes]]))
    steps.append(("scans in the cohort", rows.usable))
    return [{"step": step, "scans": len(part), "patients": int(part[PATIENT_ID].nunique())} for step, part in steps]
