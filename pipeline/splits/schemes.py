"""Split schemes: temporal, leave-site-out, predefined, incremental."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from pipeline.config import Columns, Split
from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, PATIENT_ID, SCAN_ID, SPLIT, TEST, TRAIN, VAL
from pipeline.core.errors import did_you_mean
from pipeline.core.folds import fold_columns, is_nested
from pipeline.core.io import expand


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


SETTINGS = "settings"
NO_EFFECT_ON_PLACES = {"accepted_leaks", "pretraining_patients", "statistics_patients"}
"""Settings of the leak gate."""

Place = tuple[str, int | None]
"""(split, fold)."""


def settings_digest(columns: Columns, settings: Split) -> str:
    """Eight characters that change with every setting that decides who goes where.

    A setting at its default leaves no mark, so that settings that come later leave earlier splits as they are.
    """
    roles = columns.model_dump(include={"label", "patient_id", "group", "site", "date", "split"})
    content = json.dumps(
        [roles, settings.model_dump(exclude=NO_EFFECT_ON_PLACES, exclude_defaults=True)], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def is_continued(previous: pd.DataFrame | None, digest: str) -> bool:
    """Were these splits made under the settings of `digest`?"""
    return previous is not None and SETTINGS in previous and bool((previous[SETTINGS] == digest).all())


def earlier_places(previous: pd.DataFrame, column: str, table: pd.DataFrame, groups: pd.Series) -> dict[str, Place]:
    """The (split, fold) that each group has in `column` of the previous splits, where one of its patients has one.

    Raises ValueError where patients that are now one group were placed apart.
    """
    patients = previous[[PATIENT_ID, SPLIT, column]].drop_duplicates()
    group_of = pd.Series(groups.to_numpy(), index=table[PATIENT_ID].to_numpy())
    group_of = group_of[~group_of.index.duplicated()]
    patients = patients.assign(group=patients[PATIENT_ID].map(group_of)).dropna(subset=["group"])
    places: dict[str, Place] = {}
    for group, patient, split, fold in patients[["group", PATIENT_ID, SPLIT, column]].itertuples(index=False):
        place = (split, None if pd.isna(fold) else int(fold))
        if places.setdefault(group, place) != place:
            raise ValueError(
                f"splits.csv: patients '{group}' and '{patient}' are one group now but were placed in {places[group]} "
                f"and {place}, expected one place; delete splits.csv to divide all patients anew."
            )
    return places


def site_of_groups(table: pd.DataFrame, groups: pd.Series, site_column: str) -> dict[str, str]:
    """The one site of each group."""
    sites = table[site_column].astype(str).groupby(groups).unique()
    for group, found in sites.items():
        if len(found) > 1:
            raise ValueError(
                f"cohort.csv: the group of patient '{group}' was scanned at sites {', '.join(sorted(found))}, expected "
                "one; give those sites one name, or choose another split.scheme."
            )
    return {group: found[0] for group, found in sites.items()}


def places_of_sites(
    table: pd.DataFrame, groups: pd.Series, site_of: Mapping[str, str], in_test: set[str], earlier: Mapping[str, Place]
) -> dict[str, Place]:
    """Test for groups in `in_test`, else the fold of their site; sites seen earlier keep their number."""
    number_of = _earlier_numbers(site_of, earlier)
    for site in sorted({site for group, site in site_of.items() if group not in in_test} - set(number_of)):
        number_of[site] = max(number_of.values(), default=-1) + 1
    _check_classes(table, groups.map(site_of).where(~groups.isin(in_test)))
    return {
        group: (TEST, None) if group in in_test else (DEVELOPMENT, number_of[site]) for group, site in site_of.items()
    }


def _earlier_numbers(site_of: Mapping[str, str], earlier: Mapping[str, Place]) -> dict[str, int]:
    """The fold that each site was. Raises ValueError where patients came to other sites since."""
    pairs = {(site_of[group], fold) for group, (_, fold) in earlier.items() if fold is not None}
    for kind, number in (("site", 0), ("fold", 1)):
        names = [pair[number] for pair in pairs]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                others = " and ".join(sorted(str(pair[1 - number]) for pair in pairs if pair[number] == name))
                raise ValueError(
                    f"splits.csv: patients of {kind} {name} were of {('fold', 'site')[number]}s {others}, expected "
                    "one: a site was corrected since; delete splits.csv to divide all patients anew."
                )
    return dict(pairs)


def groups_of_test_sites(site_of: Mapping[str, str], test_sites: tuple[str, ...]) -> set[str]:
    """Groups of the sites that are locked away by name."""
    for site in test_sites:
        if site not in site_of.values():
            known = sorted(set(site_of.values()))
            raise ValueError(
                f"split.test_sites: there is no site '{site}'.{did_you_mean(site, known)} Known: {', '.join(known)}."
            )
    return {group for group, site in site_of.items() if site in test_sites}


def _check_classes(table: pd.DataFrame, sites: pd.Series) -> None:
    """Every site that validates has every class."""
    counts = pd.crosstab(sites, table[LABEL])
    if len(counts) < 2:
        raise ValueError(
            f"splits: scheme sites needs two development sites, got {list(counts.index)}; use scheme folds."
        )
    for site, row in counts.iterrows():
        if (row == 0).any():
            raise ValueError(
                f"splits: site '{site}' has no scan of class '{row.index[row == 0][0]}', expected every class at every "
                "site; join it with another site, lock both away with split.test_sites, or use scheme folds."
            )


WORDS = {TRAIN: DEVELOPMENT, DEVELOPMENT: DEVELOPMENT, VAL: DEVELOPMENT, TEST: TEST}


def given_values(table: pd.DataFrame, columns: Columns, settings: Split) -> pd.Series | None:
    """train, val, test or a fold's number for each row of `table`; None where no split is given."""
    if not columns.split and not settings.file:
        return None
    if columns.split and settings.file:
        raise ValueError(f"split.file: '{settings.file}' is given beside columns.split '{columns.split}'; keep one.")
    if settings.scheme != "folds" or settings.num_repeats != 1:
        raise ValueError(
            f"split.scheme '{settings.scheme}' with {settings.num_repeats} repeats cannot go with a given split, "
            "which is used as it is; take out columns.split and split.file, or the scheme."
        )
    if columns.split:
        return table[columns.split].astype(str).str.strip()
    return _values_of_file(table, expand(settings.file, "split.file"))


def _values_of_file(table: pd.DataFrame, path: Path) -> pd.Series:
    if not path.exists():
        raise FileNotFoundError(f"split.file: {path} does not exist; expected a CSV with columns scan_id and split.")
    content = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in (SCAN_ID, SPLIT):
        if column not in content:
            raise ValueError(f"{path}: column '{column}' is missing, got {list(content.columns)}; add it.")
    if FOLD in content:
        _check_own(content, path)
        # Our own splits.csv: the number says more than the word development.
        content[SPLIT] = content[FOLD].where(content[FOLD] != "", content[SPLIT])
    absent = sorted(set(table[SCAN_ID]) - set(content[SCAN_ID]))
    if absent:
        raise ValueError(f"{path}: {len(absent)} scans have no row, such as '{absent[0]}'; add them.")
    rows = content[[SCAN_ID, SPLIT]].drop_duplicates()
    twice = rows[rows[SCAN_ID].isin(table[SCAN_ID]) & rows[SCAN_ID].duplicated(keep=False)]
    if len(twice):
        scan, words = twice[SCAN_ID].iloc[0], twice[SPLIT][twice[SCAN_ID] == twice[SCAN_ID].iloc[0]]
        raise ValueError(
            f"{path}: scan '{scan}' is in {' and in '.join(words)}, expected one row; take out the others."
        )
    return table[SCAN_ID].map(rows.set_index(SCAN_ID)[SPLIT])


def _check_own(content: pd.DataFrame, path: Path) -> None:
    """A splits.csv of ours is one division into folds, as a given split is."""
    kind = (
        "a nested division" if is_nested(content) else "repeated divisions" if len(fold_columns(content)) > 1 else None
    )
    if kind:
        raise ValueError(
            f"{path}: got {kind}, expected one division into folds; set split.scheme, num_folds, num_repeats and seed "
            "in place of split.file."
        )


def places_of(values: pd.Series, where: str) -> pd.DataFrame:
    """`split` and `fold` of each row for its given word or number; val is fold 0, train never validates."""
    numbers = values.where(values.str.fullmatch(r"\d+")).astype("Int64")
    unknown = sorted(set(values[numbers.isna()]) - set(WORDS))
    if unknown:
        raise ValueError(
            f"{where}: unknown split '{unknown[0]}', expected {TRAIN}, {VAL}, {TEST} or a fold's number."
            f"{did_you_mean(unknown[0], WORDS)}"
        )
    if numbers.notna().any() and (values == VAL).any():
        raise ValueError(f"{where}: both '{VAL}' and fold numbers stand there, expected one way; keep the numbers.")
    split = values.map(WORDS).where(numbers.isna(), DEVELOPMENT)
    return pd.DataFrame({SPLIT: split, FOLD: numbers.where(values != VAL, 0)})
