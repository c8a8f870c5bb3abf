"""Split: every patient to the locked test set or to folds, and a gate against leaks.

Reads   cohort.csv, raw scans, files given for the split, an earlier splits.csv, an edited plan.yaml
Writes  leakage.json; splits.csv and links to the given files only where no leak crosses it
"""

from pipeline.config import Config, Plan, cli
from pipeline.core.paths import Artifacts


def split(config: Config) -> None:
    """Divide the cohort's patients; stop with every leak listed, or write splits.csv."""
    from pipeline.cohorts.label_table import read_cohort
    from pipeline.config.load import check_file
    from pipeline.core.folds import read_splits, write_splits
    from pipeline.splits.leakage import check_accepted, find_leaks, stop_at_leaks, write_leakage
    from pipeline.splits.linked_files import follow_given_files
    from pipeline.splits.splitting import split_patients

    paths = Artifacts(config.root).cohort(config.cohort.name)
    cohort, table = config.cohort, read_cohort(paths.cohort)
    previous = read_splits(paths.splits) if paths.splits.exists() else None
    splits = split_patients(table, cohort.split, cohort.columns, previous)
    plan = check_file(Plan, paths.plan) if paths.plan.exists() else None
    leakage = find_leaks(table, splits, cohort, paths.raw, plan)
    write_leakage(paths.leakage, leakage)
    check_accepted(leakage, cohort.split.accepted_leaks)
    stop_at_leaks(leakage, paths.leakage)
    write_splits(paths.splits, splits)
    follow_given_files(cohort.split, paths)


if __name__ == "__main__":
    cli.run(split)
