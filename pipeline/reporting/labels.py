"""Formats of numbers, intervals and p-values, and names of splits."""

from typing import Any

import pandas as pd

Entry = dict[str, Any]
"""A metric of metrics.json."""
SPLIT_NAMES = {"test": "locked test set", "val": "validation", "train": "training set"}


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits with a real minus sign."""
    return "—" if value is None else f"{value:.{digits}f}".replace("-", "−")


def optional(value: Any) -> float | None:
    """None for the empty cell of a table."""
    return None if pd.isna(value) else float(value)


def interval(entry: Entry, digits: int = 3) -> str:
    if entry["low"] is None:
        return "no interval"
    return f"{number(entry['low'], digits)} to {number(entry['high'], digits)}"


def format_p_value(p_value: float | None) -> str:
    if p_value is None:
        return number(None)
    return "< 0.001" if p_value < 0.001 else number(p_value)


def span(low: Any, high: Any) -> str:
    """The interval of a table, empty without one."""
    return "" if pd.isna(low) else f"{number(optional(low))} to {number(optional(high))}"
