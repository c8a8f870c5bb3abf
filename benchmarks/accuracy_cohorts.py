"""Cohorts of `benchmarks/accuracy.py`: development patients in nested folds, with true or permuted labels."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.config.load import load_config
from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, NESTED, PATIENT_ID, SCAN_ID, SPLIT
from pipeline.core.folds import read_splits, write_splits
from pipeline.core.io import read_json, write_csv, write_json
from pipeline.core.paths import Artifacts, CohortPaths

TWINS = "cohort.split.accepted_leaks=[near-duplicate]"
"""Of MedMNIST3D, whose official split has them: accepted and counted, as everybody's figures on it do."""
COHORTS = {
    "phantom": ("cohort=phantom",),
    "hippocampus": ("cohort=hippocampus",),
    "adrenal28": ("cohort=adrenal", "cohort.source.size=28", TWINS),
    "adrenal": ("cohort=adrenal", TWINS),
}
"""Words of the command line that make each cohort."""
FOLDS = 5
PERMUTED_METHOD = "2d_frozen"
"""Experiment that is trained on permuted labels."""


def config_of(name: str, cohort: str, root: Path, *words: str):  # noqa: ANN201
    """An experiment on a cohort below `root`."""
    config = load_config(f"{name}.yaml", [*COHORTS[cohort], f"root={root}", "tracking.mode=none", *words])
    return config.model_copy(update={"cohort": config.cohort.model_copy(update={"name": cohort})})


def prepare(cohort: str, folder: Path) -> CohortPaths:
    """From the source to the store, with the development patients alone, each fold held out in turn."""
    paths = Artifacts(folder).cohort(cohort)
    config = config_of(PERMUTED_METHOD, cohort, folder, f"cohort.split.num_folds={FOLDS}")
    if not paths.preprocessed.exists():
        for verb in ("fetch", "ingest", "split"):
            stage(verb)(config)
        keep_development(paths)
        for verb in ("plan", "preprocess"):
            stage(verb)(config)
        permute(paths, Artifacts(folder / "permuted").cohort(cohort))
    return paths


def stage(verb: str):  # noqa: ANN201
    return getattr(import_module(f"pipeline.{verb}"), verb)


def keep_development(paths: CohortPaths) -> None:
    """Leave the development patients alone in every table of the cohort, as if there had never been others."""
    splits = nested_folds(read_splits(paths.splits))
    scans = pd.read_csv(paths.cohort, dtype=str, keep_default_na=False)
    write_csv(paths.cohort, scans[scans[SCAN_ID].isin(splits[SCAN_ID])])
    write_json(paths.ingest, {**read_json(paths.ingest), "num_scans": len(splits)})
    write_splits(paths.splits, splits)


def nested_folds(splits: pd.DataFrame) -> pd.DataFrame:
    """The development patients, each fold of which is tested in turn; the locked test set is gone.

    An official split without folds gets five, balanced by label.
    """
    found = splits[splits[SPLIT] == DEVELOPMENT].assign(**{SPLIT: NESTED})
    if found[FOLD].isna().any():
        parts = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(found, found[LABEL], found[PATIENT_ID])
        for part, (_, held_out) in enumerate(parts):
            found.iloc[held_out, found.columns.get_loc(FOLD)] = part
    return found


def permute(paths: CohortPaths, permuted: CohortPaths) -> None:
    """The same cohort, in whose splits each patient has the label of another one of its fold."""
    # Features of frozen networks know no label, so both share them.
    paths.features.mkdir(exist_ok=True)
    permuted.folder.mkdir(parents=True, exist_ok=True)
    for file in paths.folder.iterdir():
        if file != paths.splits and not (permuted.folder / file.name).exists():
            (permuted.folder / file.name).symlink_to(file.resolve())
    write_splits(permuted.splits, with_permuted_labels(read_splits(paths.splits)))


def with_permuted_labels(splits: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Labels dealt anew among the patients of each fold."""
    rng = np.random.default_rng(seed)
    patients = splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)
    dealt = patients.groupby(FOLD, group_keys=False)[LABEL].transform(lambda labels: rng.permutation(labels))
    return splits.assign(**{LABEL: splits[PATIENT_ID].map(dealt)})
