"""Section `split`: the division of patients."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from pipeline.config.section import Section


class Split(Section):
    """Dividing patients; a split given by `columns.split` or `file` is used as it is."""

    scheme: Literal["folds", "holdout", "nested", "sites", "dates"] = "folds"
    """Test set and folds; one validation set; every part tested in turn; a site a fold; the latest scans as test."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of patients locked away for the final test; 0 for cross-validation alone; nested has no locked test."""
    num_folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the other patients; each is the validation set of one training."""
    num_repeats: PositiveInt = 1
    """Divisions into folds; repeat r has the folds from r * num_folds."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the development patients that validate, for scheme holdout."""
    seed: NonNegativeInt = 0
    """Fixes who goes where."""
    stratify: tuple[str, ...] = ()
    """Covariates to balance over the folds where possible; labels always are."""
    test_sites: tuple[str, ...] = ()
    """Sites locked away as test, in place of a share of the patients; for scheme sites."""
    file: str | None = None
    """CSV with scan_id and split (train, val, test, or a fold's number); `$NAME` is read from the environment."""
    accepted_leaks: tuple[str, ...] = ()
    """Findings of leakage.json that are known and accepted: their codes, or a kind such as near-duplicate."""
    accepted_leaks_file: str | None = None
    """The same as a CSV with code and reason, for many codes; `$NAME` is read from the environment."""
    pretraining_patients: str | None = None
    """Text file of patients seen in pretraining, one a line; `$NAME` is read from the environment."""
    statistics_patients: str | None = None
    """The same for patients that went into statistics behind the given files: a harmonization, a template."""
