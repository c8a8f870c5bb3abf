"""Counts of scans, patients and classes, as stages log them."""

from typing import TYPE_CHECKING

from pipeline.core.columns import LABEL, LABEL_SEPARATOR, PATIENT_ID, SPLIT

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_CLASSES = 8
"""More classes are only counted."""


def format_cohort(table: "DataFrame") -> str:
    """`36 scans of 24 patients (cube 18, plain 18)`, of a table with patient_id and label."""
    return f"{format_rows(table)} ({format_classes(table)})"


def format_rows(table: "DataFrame") -> str:
    """`36 scans of 24 patients`."""
    return f"{plural(len(table), 'scan')} of {plural(table[PATIENT_ID].nunique(), 'patient')}"


def format_classes(table: "DataFrame") -> str:
    """Scans by class; a scan with several classes counts for each."""
    counts = table[LABEL].str.split(LABEL_SEPARATOR).explode().value_counts().sort_index()
    if len(counts) > MAX_CLASSES:
        return f"{len(counts)} classes"
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def format_splits(splits: "DataFrame") -> str:
    """`development 28 scans of 16 patients, test 8 scans of 8 patients`."""
    return ", ".join(f"{split} {format_rows(rows)}" for split, rows in splits.groupby(SPLIT))


def plural(count: int, noun: str) -> str:
    """`1 scan`, `2 scans`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
