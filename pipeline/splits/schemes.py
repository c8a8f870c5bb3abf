"""Split schemes: incremental (beside an earlier split), temporal, leave-site-out, and predefined by the user."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from pipeline.config import Columns, Split
from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, PATIENT_ID, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.errors import did_you_mean
from pipeline.core.folds import fold_columns, is_nested
from pipeline.core.ids import check_filled, check_join
from pipeline.core.io import expand
from pipeline.core.tables import read_table

PartitionKey = tuple[str, int | None]
"""(split, fold)."""
SETTINGS = "settings"
"""The column of splits.csv with the digest of the settings that the split was made under."""
LEAK_SETTINGS = {"accepted_leaks", "accepted_leaks_file", "pretraining_patients", "statistics_patients"}
"""Settings that only the leak check reads: they move no patient."""
ZONE = r"[T ]\d\d[\d:.,]*\s*(Z|[+-]\d\d(?::?\d\d)?)$"
"""The zone at the end of a time, which a date alone does not have."""
SPLIT_OF_VALUE = {TRAIN: DEVELOPMENT, DEVELOPMENT: DEVELOPMENT, VAL: DEVELOPMENT, TEST: TEST}
"""The values of a given split that are not fold numbers."""


def settings_digest(columns: Columns, settings: Split) -> str:
    """Eight characters that change with every setting that affects the partitions.

    Settings at their default are left out, so that a new setting does not invalidate earlier splits.
    """
    roles = columns.model_dump(include={"label", "patient_id", "group", "site", "date", "split"})
    content = json.dumps([roles, settings.model_dump(exclude=LEAK_SETTINGS, exclude_defaults=True)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def is_continued(previous: pd.DataFrame | None, digest: str) -> bool:
    """Whether these splits were made under the settings with this digest."""
    return previous is not None and SETTINGS in previous and bool((previous[SETTINGS] == digest).all())


def previous_partitions(
    previous: pd.DataFrame, column: str, table: pd.DataFrame, groups: pd.Series
) -> dict[str, PartitionKey]:
    """The partition of each group with a patient in the previous splits; `column` holds the fold.

    Raises ValueError if patients that now form one group were in different partitions.
    """
    patients = previous[[PATIENT_ID, SPLIT, column]].drop_duplicates()
    group_of = pd.Series(groups.to_numpy(), index=table[PATIENT_ID].to_numpy())
    group_of = group_of[~group_of.index.duplicated()]
    patients = patients.assign(group=patients[PATIENT_ID].map(group_of)).dropna(subset=["group"])
    partitions: dict[str, PartitionKey] = {}
    for group, patient, split, fold in patients[["group", PATIENT_ID, SPLIT, column]].itertuples(index=False):
        partition = (split, None if pd.isna(fold) else int(fold))
        if partitions.setdefault(group, partition) != partition:
            raise ValueError(
                f"splits.csv: patients '{group}' and '{patient}' are one group now but were in {partitions[group]} and "
                f"{partition}, expected one partition; delete splits.csv to split all patients again."
            )
    return partitions


def latest_groups(
    table: pd.DataFrame, groups: pd.Series, date_column: str, test_fraction: float, trained: Collection[str] = ()
) -> set[str]:
    """Groups whose latest scan is after a cutoff that leaves about `test_fraction` of the scans after it.

    `trained` are development scans of an earlier split: the latest of them is then the cutoff, as it was before.
    """
    dates = _dates(table, date_column)
    latest = dates.groupby(groups).max()
    if len(trained):
        cutoff = dates[table[SCAN_ID].isin(trained)].max()
    else:
        cutoff = _cutoff(latest, groups.value_counts(), test_fraction)
    return set(latest.index[latest > cutoff])


def older_scans_in_test(table: pd.DataFrame, splits: pd.DataFrame, columns: Columns, settings: Split) -> str | None:
    """A sentence on test scans that are no later than the latest development scan; None where there are none.

    A patient is never divided, so one whose latest scan is in the test set brings the earlier ones along.
    """
    if settings.scheme != "dates" or not (splits[SPLIT] == DEVELOPMENT).any():
        return None
    dates, in_test = _dates(table, columns.date), (splits[SPLIT] == TEST).to_numpy()
    cutoff = dates[~in_test].max()
    older = splits[in_test & (dates <= cutoff).to_numpy()]
    if older.empty:
        return None
    return (
        f"{len(older)} of {in_test.sum()} test scans, of {older[PATIENT_ID].nunique()} patients, are no later than "
        f"{cutoff:%Y-%m-%d}, when the last development scan was made: a patient with a later scan is in the test set "
        "with all scans"
    )


def _dates(table: pd.DataFrame, column: str) -> pd.Series:
    _check_one_zone(table, column)
    dates = pd.to_datetime(table[column], format="ISO8601", errors="coerce")
    if dates.isna().any():
        row = table[dates.isna()].iloc[0]
        raise ValueError(
            f"cohort.csv: scan '{row[SCAN_ID]}' has {column} {row[column]!r}, expected a date as YYYY-MM-DD; "
            "fill it in, or choose another split.scheme."
        )
    return dates


def _check_one_zone(table: pd.DataFrame, column: str) -> None:
    """Raise ValueError for times of several zones, or with and without one: their order would be a guess."""
    zones = table[column].astype(str).str.extract(ZONE, expand=False).fillna("none")
    first = zones[~zones.str.replace(":", "").replace({"Z": "+00", "+0000": "+00"}).duplicated()]
    if len(first) > 1:
        named = " and ".join(
            f"'{table[SCAN_ID][row]}' has {table[column][row]!r} (zone {zone})" for row, zone in first.iloc[:2].items()
        )
        raise ValueError(
            f"cohort.csv: column {column} has {len(first)} time zones, expected one: scan {named}; write every date as "
            "YYYY-MM-DD, or every time in UTC."
        )


def _cutoff(latest: pd.Series, num_scans: pd.Series, test_fraction: float) -> pd.Timestamp:
    """The day after which the share of scans is nearest to `test_fraction`; groups with the same day stay together."""
    scans_by_day = num_scans.reindex(latest.index).groupby(latest).sum().sort_index()
    share_after = 1 - scans_by_day.cumsum() / scans_by_day.sum()
    return (share_after - test_fraction).abs().idxmin()


def site_of_groups(table: pd.DataFrame, groups: pd.Series, site_column: str) -> dict[str, str]:
    """The site of each group. Raises ValueError if a group has several."""
    sites = table[site_column].astype(str).groupby(groups).unique()
    for group, found in sites.items():
        if len(found) > 1:
            raise ValueError(
                f"cohort.csv: the group of patient '{group}' was scanned at sites {', '.join(sorted(found))}, expected "
                "one site; give these sites one name, or choose another split.scheme."
            )
    return {group: found[0] for group, found in sites.items()}


def partition_by_site(
    table: pd.DataFrame,
    groups: pd.Series,
    site_of: Mapping[str, str],
    in_test: set[str],
    previous: Mapping[str, PartitionKey],
) -> dict[str, PartitionKey]:
    """Test for groups in `in_test`, else the fold of their site; sites of `previous` keep their fold number."""
    number_of = _previous_folds(site_of, previous)
    for site in sorted({site for group, site in site_of.items() if group not in in_test} - set(number_of)):
        number_of[site] = max(number_of.values(), default=-1) + 1
    _check_classes_per_site(table, groups.map(site_of).where(~groups.isin(in_test)))
    return {
        group: (TEST, None) if group in in_test else (DEVELOPMENT, number_of[site]) for group, site in site_of.items()
    }


def _previous_folds(site_of: Mapping[str, str], previous: Mapping[str, PartitionKey]) -> dict[str, int]:
    """The fold that each site had. Raises ValueError if patients have changed their site since."""
    pairs = {(site_of[group], fold) for group, (_, fold) in previous.items() if fold is not None}
    for kind, number in (("site", 0), ("fold", 1)):
        names = [pair[number] for pair in pairs]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                others = " and ".join(sorted(str(pair[1 - number]) for pair in pairs if pair[number] == name))
                raise ValueError(
                    f"splits.csv: patients of {kind} {name} were in {('fold', 'site')[number]}s {others}, expected "
                    "one: a site was corrected since; delete splits.csv to split all patients again."
                )
    return dict(pairs)


def groups_of_test_sites(site_of: Mapping[str, str], test_sites: tuple[str, ...]) -> set[str]:
    """Groups of the sites that `split.test_sites` names."""
    for site in test_sites:
        if site not in site_of.values():
            known = sorted(set(site_of.values()))
            raise ValueError(
                f"split.test_sites: unknown site '{site}'.{did_you_mean(site, known)} Known: {', '.join(known)}."
            )
    return {group for group, site in site_of.items() if site in test_sites}


def _check_classes_per_site(table: pd.DataFrame, sites: pd.Series) -> None:
    """Raise ValueError unless at least two sites are left for development and each has every class."""
    counts = pd.crosstab(sites, table[LABEL])
    if len(counts) < 2:
        raise ValueError(
            f"splits: scheme sites needs two development sites, got {list(counts.index)}; use scheme folds."
        )
    for site, row in counts.iterrows():
        if (row == 0).any():
            raise ValueError(
                f"splits: site '{site}' has no scans of class '{row.index[row == 0][0]}', expected every class at "
                "every site; merge it with another site, put it into split.test_sites, or use scheme folds."
            )


def given_values(table: pd.DataFrame, columns: Columns, settings: Split) -> pd.Series | None:
    """train, val, test or a fold number for each row of `table`; None if the user gives no split."""
    if not columns.split and not settings.file:
        return None
    if columns.split and settings.file:
        raise ValueError(
            f"split.file: '{settings.file}' and columns.split '{columns.split}' both give a split, "
            "expected one; remove the other."
        )
    if settings.scheme != "folds" or settings.num_repeats != 1:
        raise ValueError(
            f"split.scheme '{settings.scheme}' with {settings.num_repeats} repeats cannot be combined with a given "
            "split, which is used as it is; remove columns.split and split.file, or the scheme."
        )
    if columns.split:
        return table[columns.split].astype(str).str.strip()
    return _values_of_file(table, expand(settings.file, "split.file"))


def _values_of_file(table: pd.DataFrame, path: Path) -> pd.Series:
    content = read_table(path, "split.file needs a table with columns scan_id and split")
    for column in (SCAN_ID, SPLIT):
        if column not in content:
            raise ValueError(f"{path}: column '{column}' is missing, got {list(content.columns)}; add it.")
    if FOLD in content:
        # A splits.csv of this pipeline: the fold number says more than the value development.
        _check_one_split(content, path)
        content[SPLIT] = content[FOLD].where(content[FOLD] != "", content[SPLIT])
    check_filled(content, [SCAN_ID], str(path))
    missing = check_join(table[SCAN_ID], content[SCAN_ID], what="scan", where=str(path))
    if missing:
        raise ValueError(f"{path}: {len(missing)} scans have no row, such as '{missing[0]}'; add them.")
    rows = content[[SCAN_ID, SPLIT]].drop_duplicates()
    repeated = rows[rows[SCAN_ID].isin(table[SCAN_ID]) & rows[SCAN_ID].duplicated(keep=False)]
    if len(repeated):
        scan = repeated[SCAN_ID].iloc[0]
        values = repeated[SPLIT][repeated[SCAN_ID] == scan]
        raise ValueError(f"{path}: scan '{scan}' is in {' and in '.join(values)}, expected one row; remove the others.")
    return table[SCAN_ID].map(rows.set_index(SCAN_ID)[SPLIT])


def _check_one_split(content: pd.DataFrame, path: Path) -> None:
    """Raise ValueError for a splits.csv that is nested or repeated: a given split is a single split into folds."""
    kind = "a nested split" if is_nested(content) else "repeated splits" if len(fold_columns(content)) > 1 else None
    if kind:
        raise ValueError(
            f"{path}: got {kind}, expected one split into folds; set split.scheme, num_folds, num_repeats and seed "
            "instead of split.file."
        )


def parse_given_values(values: pd.Series, where: str) -> pd.DataFrame:
    """`split` and `fold` of each row from its given value; val is fold 0, train never validates."""
    numbers = values.where(values.str.fullmatch(r"\d+")).astype("Int64")
    unknown = sorted(set(values[numbers.isna()]) - set(SPLIT_OF_VALUE))
    if unknown:
        raise ValueError(
            f"{where}: unknown split '{unknown[0]}', expected {TRAIN}, {VAL}, {TEST} or a fold number."
            f"{did_you_mean(unknown[0], SPLIT_OF_VALUE)}"
        )
    if numbers.notna().any() and (values == VAL).any():
        raise ValueError(f"{where}: got both '{VAL}' and fold numbers, expected one of them; keep the fold numbers.")
    split = values.map(SPLIT_OF_VALUE).where(numbers.isna(), DEVELOPMENT)
    return pd.DataFrame({SPLIT: split, FOLD: numbers.where(values != VAL, 0)})
