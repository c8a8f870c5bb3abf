"""Split: every patient to the locked test set or to folds, and a gate against leaks.

Reads   cohort.csv, raw scans, files given for the split, an earlier splits.csv
Writes  leakage.json; splits.csv and links to the given files only if no leak crosses the split
"""

import logging

from pipeline.config import Config, Split
from pipeline.core import cli
from pipeline.core.paths import Artifacts, CohortPaths

GIVEN_FILES = {
    "file": "split.csv",
    "accepted_leaks_file": "accepted_leaks.csv",
    "pretraining_patients": "pretraining_patients.txt",
    "statistics_patients": "statistics_patients.txt",
}
"""Keys of the `split` section that name a file of the user's, and the name of the link to it."""

log = logging.getLogger(__name__)


def split(config: Config) -> None:
    """Divide the cohort's patients; stop with a list of all leaks, or write splits.csv."""
    from pipeline.cohorts.label_table import read_cohort
    from pipeline.core.counts import format_splits
    from pipeline.core.folds import fold_numbers, read_splits, write_splits
    from pipeline.splits.leakage import check_accepted, check_leaks, find_leaks, read_accepted, write_leakage
    from pipeline.splits.schemes import older_scans_in_test
    from pipeline.splits.splitting import split_patients

    paths = Artifacts(config.root).cohort(config.cohort.name)
    cohort, table = config.cohort, read_cohort(paths.cohort)
    previous = read_splits(paths.splits, of_earlier_cohort=True) if paths.splits.exists() else None
    splits = split_patients(table, cohort.split, cohort.columns, previous)
    accepted = read_accepted(cohort.split)
    older = older_scans_in_test(table, splits, cohort.columns, cohort.split)
    leakage = find_leaks(table, splits, cohort, paths.raw, accepted) | {"notes": [older] if older else []}
    write_leakage(paths.leakage, leakage)
    check_accepted(leakage, accepted)
    check_leaks(leakage, paths.leakage)
    write_splits(paths.splits, splits)
    if older:
        log.warning("%s: %s", paths.splits, older)
    link_given_files(cohort.split, paths)
    log.info("split: %s, %d folds; %s", format_splits(splits), len(fold_numbers(splits)), paths.splits)


def link_given_files(settings: Split, paths: CohortPaths) -> None:
    """Link the user's files beside the cohort, so that DVC sees an edit.

    A key without a file gets an empty one: DVC expects the output.
    """
    from pipeline.core.io import expand

    for key, name in GIVEN_FILES.items():
        link, given = paths.given(name), getattr(settings, key)
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        if given:
            link.symlink_to(expand(given, f"split.{key}").resolve())
        else:
            link.touch()


if __name__ == "__main__":
    cli.run(split)
