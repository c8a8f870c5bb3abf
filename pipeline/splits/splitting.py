"""Splitting: every patient to the locked test set or to folds, balanced, and never moved once placed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from pipeline.config import Columns, Split
from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, PATIENT_ID, SCAN_ID, SPLIT, TEST
from pipeline.core.errors import did_you_mean
from pipeline.splits.groups import group_of_scans
from pipeline.splits.partitions import Bin, bins_of, deal_groups
from pipeline.splits.schemes import (
    SETTINGS,
    Place,
    earlier_places,
    given_values,
    groups_of_test_sites,
    is_continued,
    latest_groups,
    places_of,
    places_of_sites,
    settings_digest,
    site_of_groups,
)

log = logging.getLogger(__name__)

REPEATABLE = ("folds", "dates")
STANDARD_NAMES = Columns()
"""No sites, groups or dates."""


def split_patients(
    table: pd.DataFrame, settings: Split, columns: Columns = STANDARD_NAMES, previous: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The rows of splits.csv for the rows of cohort.csv, in their order.

    `previous` are earlier splits (`read_splits`): where they were made under the same settings, patients keep their
    places. Raises ValueError where classes are too small for the folds, or a column that is needed is missing.
    """
    check_settings(table, settings, columns)
    digest = settings_digest(columns, settings)
    kept = previous if is_continued(previous, digest) else None
    if previous is not None and kept is None:
        log.warning(
            "splits.csv: made under other settings of split or columns and not continued; all patients are divided anew"
        )
    division = Division(table, group_of_scans(table, columns.group), settings, columns, kept)
    given = given_values(table, columns, settings)
    splits = division.as_given(given) if given is not None else division.dealt()
    return splits.assign(**{SETTINGS: digest})


def check_settings(table: pd.DataFrame, settings: Split, columns: Columns) -> None:
    """Columns that splitting reads are there, and options that the scheme would ignore are not."""
    wanted = {"columns.group": columns.group, "split.stratify": settings.stratify}
    wanted["columns.split"] = (columns.split,) if columns.split else ()
    for scheme, key, column in (("sites", "columns.site", columns.site), ("dates", "columns.date", columns.date)):
        if settings.scheme == scheme:
            if not column:
                raise ValueError(f"split.scheme '{scheme}' needs {key}, got none; name the column.")
            wanted[key] = (column,)
    for key, names in wanted.items():
        for name in names:
            if name not in table:
                raise ValueError(f"{key}: cohort.csv has no column '{name}'.{did_you_mean(name, table.columns)}")
    if settings.num_repeats > 1 and settings.scheme not in REPEATABLE:
        raise ValueError(f"split.num_repeats goes with schemes {' and '.join(REPEATABLE)}, got '{settings.scheme}'.")
    if settings.scheme == "nested" and settings.num_folds < 3:
        raise ValueError(
            "split.num_folds of scheme nested: one part tests and one validates, got 2, expected 3 or more."
        )
    if settings.test_sites and settings.scheme != "sites":
        raise ValueError(f"split.test_sites goes with scheme sites, got '{settings.scheme}'.")


@dataclass(frozen=True)
class Division:
    """One cohort being divided; `kept` are earlier splits to continue."""

    table: pd.DataFrame
    groups: pd.Series
    settings: Split
    columns: Columns
    kept: pd.DataFrame | None

    def dealt(self) -> pd.DataFrame:
        """Places by the scheme, with a column of folds for each repeat."""
        places = self.groups.map(self._places())
        splits = self._identities()
        splits[SPLIT] = places.str[0].astype(str)
        splits[FOLD] = places.str[1].astype("Int64")
        self._check_test(splits)
        for repeat in range(1, self.settings.num_repeats):
            column = f"{FOLD}_{repeat}"
            splits[column] = self._folds_among(splits[SPLIT] == DEVELOPMENT, self._earlier(column), repeat)
        return splits

    def as_given(self, values: pd.Series) -> pd.DataFrame:
        """Places as the user gave them; where nothing validates, the development scans are dealt into folds."""
        where = f"column '{self.columns.split}'" if self.columns.split else str(self.settings.file)
        splits = self._identities().join(places_of(values, where))
        if splits[FOLD].isna().all():
            splits[FOLD] = self._folds_among(splits[SPLIT] == DEVELOPMENT, self._earlier(FOLD))
        return splits

    def _places(self) -> dict[str, Place]:
        """(split, fold) of each group."""
        earlier = self._earlier(FOLD)
        match self.settings.scheme:
            case "sites":
                return self._places_by_site(earlier)
            case "dates":
                return self._places_by_date(earlier)
        return self._deal(earlier)

    def _deal(self, earlier: Mapping[str, Place]) -> dict[str, Place]:
        bin_of = deal_groups(self.table, self.groups, partial(bins_of, self.settings), self.settings, earlier)
        return {group: bin.place for group, bin in bin_of.items()}

    def _folds_among(self, rows: pd.Series, earlier: Mapping[str, Place], repeat: int = 0) -> pd.Series:
        """The fold of each of the chosen development rows, dealt in balance; empty for other rows."""
        num_folds = self.settings.num_folds

        def make_bins(num_folds: int) -> list[Bin]:
            bins = bins_of(self.settings, num_folds, repeat * self.settings.num_folds)
            return [bin for bin in bins if bin.split == DEVELOPMENT]

        # Whoever was brought over from another side, by a corrected given split, has no fold yet.
        kept = {
            group: place for group, place in earlier.items() if place in {bin.place for bin in make_bins(num_folds)}
        }
        bin_of = deal_groups(self.table[rows], self.groups[rows], make_bins, self.settings, kept, repeat)
        return self.groups[rows].map(lambda group: bin_of[group].fold).reindex(rows.index).astype("Int64")

    def _places_by_date(self, earlier: Mapping[str, Place]) -> dict[str, Place]:
        trained = [] if self.kept is None else self.kept[SCAN_ID][self.kept[SPLIT] == DEVELOPMENT]
        late = latest_groups(self.table, self.groups, self.columns.date, self.settings.test_fraction, set(trained))
        # A patient who comes again, or whose date is corrected, stays where they were.
        in_test = {group for group, (split, _) in earlier.items() if split == TEST} | (late - set(earlier))
        develops = ~self.groups.isin(in_test)
        folds = self._folds_among(develops, earlier)
        return dict.fromkeys(in_test, (TEST, None)) | {
            group: (DEVELOPMENT, fold) for group, fold in zip(self.groups[develops], folds[develops], strict=True)
        }

    def _places_by_site(self, earlier: Mapping[str, Place]) -> dict[str, Place]:
        site_of = site_of_groups(self.table, self.groups, self.columns.site)
        if self.settings.test_sites:
            in_test = groups_of_test_sites(site_of, self.settings.test_sites)
        else:
            sides = {group: (split, None) for group, (split, _) in earlier.items()}
            in_test = {group for group, (split, _) in self._deal(sides).items() if split == TEST}
        return places_of_sites(self.table, self.groups, site_of, in_test, earlier)

    def _check_test(self, splits: pd.DataFrame) -> None:
        """Every class is in a test set that was not dealt but chosen, by date or by the names of sites."""
        settings = self.settings
        chosen = {"dates": settings.test_fraction > 0, "sites": bool(settings.test_sites)}.get(settings.scheme, False)
        labels = splits[LABEL][splits[SPLIT] == TEST]
        absent = sorted(set(splits[LABEL]) - set(labels))
        if chosen and absent:
            raise ValueError(
                f"splits: scheme {settings.scheme} leaves a test set of {len(labels)} scans without class "
                f"'{absent[0]}', expected every class; change "
                f"split.{'test_sites' if settings.test_sites else 'test_fraction'}, or choose another split.scheme."
            )

    def _earlier(self, column: str) -> dict[str, Place]:
        return {} if self.kept is None else earlier_places(self.kept, column, self.table, self.groups)

    def _identities(self) -> pd.DataFrame:
        return self.table[[SCAN_ID, PATIENT_ID, LABEL]].copy()
