"""A split by date: the latest scans are the test set, so that nothing is learnt from the future."""

from collections.abc import Collection

import pandas as pd

from pipeline.core.columns import SCAN_ID


def latest_groups(
    table: pd.DataFrame, groups: pd.Series, date_column: str, test_fraction: float, trained: Collection[str] = ()
) -> set[str]:
    """Groups whose latest scan is after a cut-off that leaves about `test_fraction` of the scans after it.

    `trained` are development scans of an earlier split: the cut-off then is the latest of them, as it was.
    """
    dates = _dates(table, date_column)
    latest = dates.groupby(groups).max()
    if len(trained):
        cutoff = dates[table[SCAN_ID].isin(trained)].max()
    else:
        cutoff = _cutoff(latest, groups.value_counts(), test_fraction)
    return set(latest.index[latest > cutoff])


def _dates(table: pd.DataFrame, column: str) -> pd.Series:
    dates = pd.to_datetime(table[column], format="ISO8601", errors="coerce")
    if dates.isna().any():
        row = table[dates.isna()].iloc[0]
        raise ValueError(
            f"cohort.csv: scan '{row[SCAN_ID]}' has {column} {row[column]!r}, expected a date as YYYY-MM-DD; "
            "fill it in, or choose another split.scheme."
        )
    return dates


def _cutoff(latest: pd.Series, num_scans: pd.Series, test_fraction: float) -> pd.Timestamp:
    """The day after which the share of scans is nearest to `test_fraction`; groups of one day stay together."""
    scans_by_day = num_scans.reindex(latest.index).groupby(latest).sum().sort_index()
    share_after = 1 - scans_by_day.cumsum() / scans_by_day.sum()
    return (share_after - test_fraction).abs().idxmin()
