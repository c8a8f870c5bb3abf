"""Pair the predictions of experiments or git revisions by patient."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SEED, SPLIT, TEST, VAL
from pipeline.core.tables import parse_table
from pipeline.evaluation.cv_design import check_cv_design, cv_parts
from pipeline.evaluation.decision_rule import fit_on_validation
from pipeline.evaluation.ensembling import PATIENT, SCAN, Calibrations, ensemble_models, units_by_level
from pipeline.evaluation.predictions import ALL_FOLDS, check_predictions, class_names
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import MULTILABEL, Settings
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS


@dataclass(frozen=True)
class Candidate:
    """One experiment, on the rows that all experiments share."""

    name: str
    pooled: Sample
    """All models together, at the frozen threshold."""
    seeds: list[Sample]
    """The folds of each seed together."""
    num_folds: int


def align_candidates(tables: Mapping[str, pd.DataFrame], settings: Settings, split: str) -> list[Candidate]:
    """One candidate per table; ValueError where the patients differ, or are too few."""
    if settings.task == MULTILABEL:
        raise ValueError(
            "task multilabel: experiments with several labels per scan are not compared; see metrics.json of each."
        )
    checked = {name: check_predictions(table, where=name) for name, table in tables.items()}
    for name, table in checked.items():
        check_cv_design(table, where=name)
    levels = {name: units_by_level(table, settings.patient_rule) for name, table in checked.items()}
    # Patients where each has one label in this split, else scans.
    level = PATIENT if all((units[PATIENT][SPLIT] == split).any() for units in levels.values()) else SCAN
    candidates = [make_candidate(name, units[level], settings, split) for name, units in levels.items()]
    check_same(candidates, {name: rows_of(units[level], split) for name, units in levels.items()}, split)
    return candidates


def make_candidate(name: str, units: pd.DataFrame, settings: Settings, split: str) -> Candidate:
    fitted = fit_on_validation(units, settings)
    pooled = sample_of(rows_of(ensemble_models(units, fitted.calibrations).rows, split), fitted.point.threshold)
    seeds = [seed_sample(rows, fitted.calibrations, split) for _, rows in units.groupby(SEED)]
    if any(len(seed.labels) != len(pooled.labels) for seed in seeds):
        raise ValueError(
            f"{name}: its seeds predicted different {split} patients, expected the same; predict with all."
        )
    return Candidate(name, pooled, seeds, units[FOLD].nunique())


def seed_sample(units: pd.DataFrame, calibrations: Calibrations, split: str) -> Sample:
    return sample_of(rows_of(ensemble_models(units, calibrations).rows, split))


def rows_of(units: pd.DataFrame, split: str) -> pd.DataFrame:
    """The split's rows in a fixed order."""
    return units[units[SPLIT] == split].sort_values(key_of(units), ignore_index=True)


def key_of(units: pd.DataFrame) -> str:
    return SCAN_ID if SCAN_ID in units else PATIENT_ID


def check_same(candidates: list[Candidate], rows: Mapping[str, pd.DataFrame], split: str) -> None:
    first, reference = next(iter(rows.items()))
    for name, table in rows.items():
        if class_names(table) != class_names(reference):
            raise ValueError(
                f"{name}: expected the classes of {first}, {class_names(reference)}, got "
                f"{class_names(table)}; compare experiments on the same cohort."
            )
        different = identities(table) ^ identities(reference)
        if different:
            raise ValueError(
                f"{name}: {len({patient for _, patient, *_ in different})} {split} patients differ from those of "
                f"{first}, or were predicted in other folds, expected the same; predict with the same folds."
            )
    fewest = candidates[0].pooled.patients_of_class.min() if candidates else 0
    if fewest < FEWEST_PATIENTS:
        raise ValueError(f"{split}: a class has {fewest} patients, a comparison needs {FEWEST_PATIENTS}.")


def identities(rows: pd.DataFrame) -> set[tuple[str, str, str, int]]:
    """Unit, patient, label and fold of each row; validation patients are ranked within their fold."""
    # A test patient is predicted by all models together, of however many folds.
    folds = rows[FOLD].where(rows[SPLIT] == VAL, ALL_FOLDS)
    return set(zip(rows[key_of(rows)], rows[PATIENT_ID], rows[LABEL], folds, strict=True))


def held_out_of_nested(table: pd.DataFrame, where: str) -> pd.DataFrame | None:
    """The test rows of nested folds as one out-of-fold table; None for any other design.

    Each scan has one row a seed, the mean of the trainings that held its outer part out. Their epochs were chosen on
    inner folds, so no patient here chose anything. `fold` is the outer part, within which patients are ranked.
    """
    parts = list(cv_parts(check_predictions(table, where=where), where).values())
    tests = [part[part[SPLIT] == TEST] for part in parts]
    if (
        len(parts) < 2
        or any(test.empty for test in tests)
        or pd.concat(tests)[SCAN_ID].nunique() != sum(test[SCAN_ID].nunique() for test in tests)
    ):
        return None
    rows = pd.concat([test.assign(**{FOLD: number}) for number, test in enumerate(tests)])
    probs = [f"{PROB_PREFIX}{name}" for name in class_names(rows)]
    means = rows.groupby([FOLD, SEED, SCAN_ID, PATIENT_ID, LABEL], as_index=False, sort=False)[probs].mean()
    return means.assign(**{SPLIT: VAL})


WORKSPACE = "workspace"
"""DVC's name for the files of the working tree."""


def read_revision(revision: str, folder: Path) -> pd.DataFrame:
    """The predictions, not checked, of all folds in `folder`, relative to the repository, as of `revision`.

    They come from git, or from DVC's cache or remote; ValueError if the revision or its predictions are unavailable.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    try:
        files = DVCFileSystem(rev=None if revision == WORKSPACE else revision)
        tables = [
            parse_table(files.read_bytes(path), path) for path in sorted(files.glob(f"{folder.as_posix()}/fold-*.csv"))
        ]
    except (DvcException, SCMError, OSError) as error:
        raise ValueError(
            f"{revision}: its predictions cannot be read ({error}); name a revision that git or DVC knows, and "
            "'dvc pull' what it stored."
        ) from None
    if not tables:
        raise ValueError(f"{revision}: no fold-<k>.csv in {folder}, expected predictions; 'dvc repro' writes them.")
    return pd.concat(tables, ignore_index=True)
