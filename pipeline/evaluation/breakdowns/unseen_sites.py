"""Patients of sites that no training patient came from: performance at the next site."""

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, NESTED, PATIENT_ID, SPLIT, TEST, VAL
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
    development = background.splits[background.splits[SPLIT] != TEST].drop_duplicates(PATIENT_ID)
    trained_site, trained_fold = sites.reindex(development[PATIENT_ID]).to_numpy(), numbers(development[FOLD])
    of_patients = sites.reindex(patients[PATIENT_ID]).to_numpy()
    left_out = left_out_folds(patients, background.splits)
    unseen = np.zeros(len(patients), dtype=bool)
    for fold in np.unique(left_out):
        rows = left_out == fold
        unseen[rows] = ~np.isin(of_patients[rows], trained_site[trained_fold != fold])
    return unseen if unseen.any() else None


def left_out_folds(patients: pd.DataFrame, splits: pd.DataFrame) -> Array:
    """(P,) fold of splits.csv that no model which judged the patient trained on; -1 for all of development."""
    if (splits[SPLIT] == NESTED).any():
        # A part of a nested division is what a patient is tested with; none of its models saw the rest of the part.
        parts = splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[FOLD]
        return numbers(parts.reindex(patients[PATIENT_ID]))
    return np.where(patients[SPLIT] == VAL, numbers(patients[FOLD]), -1)


def numbers(folds: pd.Series) -> Array:
    """Numbers of folds; -2 for patients that train in all of them."""
    return pd.to_numeric(folds, errors="coerce").fillna(-2).to_numpy()
