"""Splitting: every patient to the locked test set or to folds, balanced, and never moved afterwards."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from pipeline.config import Columns, Split
from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, PATIENT_ID, SCAN_ID, SPLIT, TEST
from pipeline.core.errors import did_you_mean
from pipeline.splits.partitions import Partition, assign_groups, group_of_scans, partitions_of
from pipeline.splits.schemes import (
    SETTINGS,
    PartitionKey,
    given_values,
    groups_of_test_sites,
    is_continued,
    latest_groups,
    parse_given_values,
    partition_by_site,
    previous_partitions,
    settings_digest,
    site_of_groups,
)

log = logging.getLogger(__name__)

REPEATABLE = ("folds", "dates")
"""Schemes that `split.num_repeats` applies to."""
STANDARD_NAMES = Columns()
"""No sites, groups or dates."""


def split_patients(
    table: pd.DataFrame, settings: Split, columns: Columns = STANDARD_NAMES, previous: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The rows of splits.csv for the rows of cohort.csv, in their order.

    `previous` are earlier splits (`read_splits`): if they were made under the same settings, patients keep their
    partitions. Raises ValueError if a class is too small for the folds, or a required column is missing.
    """
    check_settings(table, settings, columns)
    digest = settings_digest(columns, settings)
    kept = previous if is_continued(previous, digest) else None
    if previous is not None and kept is None:
        log.warning(
            "splits.csv: made under other settings of split or columns, so it is not continued; "
            "all patients are split again"
        )
    splitter = Splitter(table, group_of_scans(table, columns.group), settings, columns, kept)
    given = given_values(table, columns, settings)
    splits = splitter.split_as_given(given) if given is not None else splitter.split_by_scheme()
    return splits.assign(**{SETTINGS: digest})


def check_settings(table: pd.DataFrame, settings: Split, columns: Columns) -> None:
    """Raise ValueError for a column that is missing, or an option that the scheme would ignore."""
    required = {"columns.group": columns.group, "split.stratify": settings.stratify}
    required["columns.split"] = (columns.split,) if columns.split else ()
    for scheme, key, column in (("sites", "columns.site", columns.site), ("dates", "columns.date", columns.date)):
        if settings.scheme == scheme:
            if not column:
                raise ValueError(f"split.scheme '{scheme}' needs {key}, got none; name the column.")
            required[key] = (column,)
    for key, names in required.items():
        for name in names:
            if name not in table:
                raise ValueError(f"{key}: cohort.csv has no column '{name}'.{did_you_mean(name, table.columns)}")
    if settings.num_repeats > 1 and settings.scheme not in REPEATABLE:
        raise ValueError(f"split.num_repeats needs scheme {' or '.join(REPEATABLE)}, got '{settings.scheme}'.")
    if settings.scheme == "nested" and settings.num_folds < 3:
        raise ValueError(
            "split.num_folds: scheme nested has one part for test and one for validation, got 2, expected 3 or more."
        )
    if settings.test_sites and settings.scheme != "sites":
        raise ValueError(f"split.test_sites needs scheme sites, got '{settings.scheme}'.")


@dataclass(frozen=True)
class Splitter:
    """Splits one cohort; `kept` are earlier splits to continue."""

    table: pd.DataFrame
    groups: pd.Series
    settings: Split
    columns: Columns
    kept: pd.DataFrame | None

    def split_by_scheme(self) -> pd.DataFrame:
        """Partitions by `split.scheme`, with a column of folds for each repeat."""
        partitions = self.groups.map(self._partitions())
        splits = self._identities()
        splits[SPLIT] = partitions.str[0].astype(str)
        splits[FOLD] = partitions.str[1].astype("Int64")
        self._check_test(splits)
        for repeat in range(1, self.settings.num_repeats):
            column = f"{FOLD}_{repeat}"
            splits[column] = self._folds_among(splits[SPLIT] == DEVELOPMENT, self._previous(column), repeat)
        return splits

    def split_as_given(self, values: pd.Series) -> pd.DataFrame:
        """Partitions as the user gave them; if no scan validates, the development scans are assigned to folds."""
        where = f"column '{self.columns.split}'" if self.columns.split else str(self.settings.file)
        splits = self._identities().join(parse_given_values(values, where))
        if splits[FOLD].isna().all():
            splits[FOLD] = self._folds_among(splits[SPLIT] == DEVELOPMENT, self._previous(FOLD))
        return splits

    def _partitions(self) -> dict[str, PartitionKey]:
        """The partition of each group."""
        previous = self._previous(FOLD)
        match self.settings.scheme:
            case "sites":
                return self._partition_by_site(previous)
            case "dates":
                return self._partition_by_date(previous)
        return self._assign(previous)

    def _assign(self, previous: Mapping[str, PartitionKey]) -> dict[str, PartitionKey]:
        make_partitions = partial(partitions_of, self.settings)
        partition_of = assign_groups(self.table, self.groups, make_partitions, self.settings, previous)
        return {group: partition.key for group, partition in partition_of.items()}

    def _folds_among(self, rows: pd.Series, previous: Mapping[str, PartitionKey], repeat: int = 0) -> pd.Series:
        """Balanced folds for the selected development rows; empty for other rows."""

        def make_folds(num_folds: int) -> list[Partition]:
            partitions = partitions_of(self.settings, num_folds, repeat * self.settings.num_folds)
            return [partition for partition in partitions if partition.split == DEVELOPMENT]

        # Patients that a corrected given split has moved to development have no fold yet.
        keys = {fold.key for fold in make_folds(self.settings.num_folds)}
        kept = {group: partition for group, partition in previous.items() if partition in keys}
        fold_of = assign_groups(self.table[rows], self.groups[rows], make_folds, self.settings, kept, repeat)
        return self.groups[rows].map(lambda group: fold_of[group].fold).reindex(rows.index).astype("Int64")

    def _partition_by_date(self, previous: Mapping[str, PartitionKey]) -> dict[str, PartitionKey]:
        trained = [] if self.kept is None else self.kept[SCAN_ID][self.kept[SPLIT] == DEVELOPMENT]
        late = latest_groups(self.table, self.groups, self.columns.date, self.settings.test_fraction, set(trained))
        # Patients with further scans, or with a corrected date, stay in their partition.
        in_test = {group for group, (split, _) in previous.items() if split == TEST} | (late - set(previous))
        develops = ~self.groups.isin(in_test)
        folds = self._folds_among(develops, previous)
        return dict.fromkeys(in_test, (TEST, None)) | {
            group: (DEVELOPMENT, fold) for group, fold in zip(self.groups[develops], folds[develops], strict=True)
        }

    def _partition_by_site(self, previous: Mapping[str, PartitionKey]) -> dict[str, PartitionKey]:
        site_of = site_of_groups(self.table, self.groups, self.columns.site)
        if self.settings.test_sites:
            in_test = groups_of_test_sites(site_of, self.settings.test_sites)
        else:
            splits = {group: (split, None) for group, (split, _) in previous.items()}
            in_test = {group for group, (split, _) in self._assign(splits).items() if split == TEST}
        return partition_by_site(self.table, self.groups, site_of, in_test, previous)

    def _check_test(self, splits: pd.DataFrame) -> None:
        """Raise ValueError if a test set that is chosen by date or by site lacks a class."""
        settings = self.settings
        chosen = {"dates": settings.test_fraction > 0, "sites": bool(settings.test_sites)}.get(settings.scheme, False)
        labels = splits[LABEL][splits[SPLIT] == TEST]
        missing = sorted(set(splits[LABEL]) - set(labels))
        if chosen and missing:
            raise ValueError(
                f"splits: scheme {settings.scheme} leaves a test set of {len(labels)} scans without class "
                f"'{missing[0]}', expected every class; change "
                f"split.{'test_sites' if settings.test_sites else 'test_fraction'}, or choose another split.scheme."
            )

    def _previous(self, column: str) -> dict[str, PartitionKey]:
        return {} if self.kept is None else previous_partitions(self.kept, column, self.table, self.groups)

    def _identities(self) -> pd.DataFrame:
        return self.table[[SCAN_ID, PATIENT_ID, LABEL]].copy()
