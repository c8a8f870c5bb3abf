"""Patients of sites that no training patient came from: performance at the next site."""

import numpy as np
import pandas as pd

from pipeline.artifacts import DEVELOPMENT, FOLD, PATIENT_ID, SPLIT, VAL
from pipeline.evaluation.tables.background import Background
from pipeline.evaluation.tables.sample import Array

SEEN = "site seen in training"


def site_is_unseen(patients: pd.DataFrame, background: Background) -> Array | None:
    """(P,) boolean, None where no site is named, nobody is known to have trained, or every site was seen.

    `patients`, a row each, have patient, split and fold. A validation patient is judged by a model that trained on the
    other folds, a test patient by models that together saw all of them.
    """
    if background.site is None or background.splits is None:
        return None
    sites = background.cohort.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[background.site]
    development = background.splits[background.splits[SPLIT] == DEVELOPMENT].drop_duplicates(PATIENT_ID)
    trained_site, trained_fold = sites.reindex(development[PATIENT_ID]).to_numpy(), numbers(development[FOLD])
    of_patients = sites.reindex(patients[PATIENT_ID]).to_numpy()
    validated = np.where(patients[SPLIT] == VAL, numbers(patients[FOLD]), -1)
    unseen = np.zeros(len(patients), dtype=bool)
    for fold in np.unique(validated):
        rows = validated == fold
        unseen[rows] = ~np.isin(of_patients[rows], trained_site[trained_fold != fold])
    return unseen if unseen.any() else None


def numbers(folds: pd.Series) -> Array:
    """Numbers of folds; -2 for patients that train in all of them."""
    return pd.to_numeric(folds, errors="coerce").fillna(-2).to_numpy()
