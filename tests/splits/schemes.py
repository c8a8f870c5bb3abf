"""Every way to split a cohort, and cohorts that make it hard."""

import numpy as np

from pipeline.config import Columns, Split

SCHEMES = {
    "folds": (Split(num_folds=3), Columns()),
    "repeated": (Split(num_folds=3, num_repeats=2), Columns()),
    "holdout": (Split(scheme="holdout"), Columns()),
    "nested": (Split(scheme="nested", num_folds=4), Columns()),
    "sites": (Split(scheme="sites"), Columns(site="site")),
    "test sites": (Split(scheme="sites", test_sites=("east",)), Columns(site="site")),
    "dates": (Split(scheme="dates", num_folds=3), Columns(date="date")),
    "stratified": (Split(num_folds=3, stratify=("site", "age")), Columns()),
}


def few_ill(table, number):
    """The same table with a given number of patients of class lesion."""
    ill = table.loc[table["label"] == "lesion", "patient_id"].unique()[:number]
    return table.assign(label=np.where(table["patient_id"].isin(ill), "lesion", "healthy"))
