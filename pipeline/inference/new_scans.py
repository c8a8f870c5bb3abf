"""Predict new scans, which belong to no cohort, from their raw files."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipeline.cohorts.label_table import file_columns, quote_with_hint, select_files
from pipeline.config import Columns
from pipeline.core.columns import PATH, PROB_PREFIX
from pipeline.core.io import check_replaceable, write_csv
from pipeline.core.progress import show_progress
from pipeline.core.tables import read_table
from pipeline.imaging.io.discover import ScanFiles, as_on_disk, find_scans, readable_name, scan_files
from pipeline.inference.trained_run import ScanClassifier, predicted_class
from pipeline.training.errors import is_out_of_memory

log = logging.getLogger(__name__)
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".xlsx", ".xlsm")
PREDICTED, WARNINGS = "predicted", "warnings"


def predict_files(trained: ScanClassifier, scans: list[Path], out: Path) -> None:
    """Write `path, prob_<class>…`, `predicted` if there is a threshold, and `warnings`, which are logged as well.

    Scans that cannot be read, or need too much memory, are listed in one error after the others have been written.
    """
    check_replaceable(out)
    files = list(find_files(scans, trained.columns))
    rows, problems = [], []
    for name, scan in show_progress(files, len(files), "predict"):
        try:
            prepared = trained.prepare(scan)
            probs = trained.predict(prepared.array).probs
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problems.append(f"{name}: out of memory; predict it alone, or on a machine with more memory.")
            continue
        for warning in prepared.warnings:
            log.warning("warning: %s: %s", name, warning)
        rows.append([name, *probs, predicted_class(trained, probs), " | ".join(prepared.warnings)])
    columns = [PATH, *(f"{PROB_PREFIX}{label}" for label in trained.classes), PREDICTED, WARNINGS]
    table = pd.DataFrame(rows, columns=columns)
    write_csv(out, table if trained.threshold is not None else table.drop(columns=PREDICTED))
    log.info("%s: %d scans", out, len(rows))
    if problems:
        raise ValueError("\n".join([f"{len(problems)} of {len(files)} scans could not be predicted:", *problems]))


def find_files(paths: list[Path], columns: Columns) -> Iterator[tuple[str, ScanFiles]]:
    """Each scan with its name: files, DICOM series, all scans below other folders, and the rows of tables."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder.")
        if path.suffix.lower() in TABLE_SUFFIXES:
            yield from table_scans(path, columns)
            continue
        found = list(find_scans(path))
        if not found:
            raise FileNotFoundError(f"{path}: no scans here, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
        yield from ((readable_name(scan), ScanFiles((scan,))) for scan in found)


def table_scans(path: Path, columns: Columns) -> Iterator[tuple[str, ScanFiles]]:
    """The scans of a table that has the file columns of the training's table; paths are relative to its folder."""
    table = read_table(path)
    for name in file_columns(columns):
        if name not in table.columns:
            raise ValueError(
                f"{path}: no column {quote_with_hint(name, table.columns)} among {', '.join(table.columns)}."
            )
    for row in pd.DataFrame(select_files(table, columns)).to_dict("records"):
        files = scan_files(row, path.parent)
        channels = tuple(channel and as_on_disk(channel) for channel in files.channels)
        yield row[PATH], replace(files, channels=channels, crop_mask=files.crop_mask and as_on_disk(files.crop_mask))
