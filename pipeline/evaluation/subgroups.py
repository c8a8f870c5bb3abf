"""AUROC, sensitivity, specificity and calibration by subgroup and by site, seen and unseen in training."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import chi2

from pipeline.core.columns import FOLD, NESTED, PATIENT_ID, SPLIT, TEST, VAL
from pipeline.core.errors import did_you_mean
from pipeline.evaluation.comparison import holm
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.metrics import select_metrics
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc, reason_no_variance
from pipeline.evaluation.uncertainty.estimates import estimate_metrics
from pipeline.evaluation.uncertainty.intervals import logit_interval
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

SEEN = "site seen in training"


def site_is_unseen(patients: pd.DataFrame, covariates: Covariates) -> Array | None:
    """(P,) boolean, None where no site column is named, splits.csv is missing, or every site was seen.

    `patients`, one row each, have patient, split and fold. A validation patient is predicted by a model that trained on
    the other folds, a test patient by models that together saw all of them.
    """
    if covariates.site is None or covariates.splits is None:
        return None
    sites = covariates.cohort.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[covariates.site]
    development = covariates.splits[covariates.splits[SPLIT] != TEST].drop_duplicates(PATIENT_ID)
    trained_site, trained_fold = sites.reindex(development[PATIENT_ID]).to_numpy(), numbers(development[FOLD])
    of_patients = sites.reindex(patients[PATIENT_ID]).to_numpy()
    left_out = left_out_folds(patients, covariates.splits)
    unseen = np.zeros(len(patients), dtype=bool)
    for fold in np.unique(left_out):
        rows = left_out == fold
        unseen[rows] = ~np.isin(of_patients[rows], trained_site[trained_fold != fold])
    return unseen if unseen.any() else None


def left_out_folds(patients: pd.DataFrame, splits: pd.DataFrame) -> Array:
    """(P,) fold of splits.csv that no model that predicted the patient trained on; -1 for all of development."""
    if (splits[SPLIT] == NESTED).any():
        # A part of a nested division is what a patient is tested with; none of its models saw the rest of the part.
        parts = splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[FOLD]
        return numbers(parts.reindex(patients[PATIENT_ID]))
    return np.where(patients[SPLIT] == VAL, numbers(patients[FOLD]), -1)


def numbers(folds: pd.Series) -> Array:
    """Numbers of folds; -2 for patients that train in all of them."""
    return pd.to_numeric(folds, errors="coerce").fillna(-2).to_numpy()


MOST_VALUES = 8
"""Number of distinct values up to which each value is a group."""
PATIENTS_FOR_NAME = 20
"""With more distinct values, those with this many patients are their own groups."""
OTHER, ALL = "other", "all"


@dataclass(frozen=True)
class Subgroup:
    """A row of subgroups.csv; a missing value has a reason."""

    covariate: str
    group: str
    num_patients: int
    auroc: float | None
    low: float | None
    high: float | None
    p_value: float | None = None
    """Of the hypothesis that the groups of the covariate have equal AUROCs."""
    adjusted_p_value: float | None = None
    """Holm over the covariates, and over the classes where there are several."""
    reason: str | None = None


RATES = ("sensitivity", "specificity", "calibration_intercept")
"""At the frozen threshold, and calibration in the large; each with an interval where its patients allow one."""
COLUMNS = [*Subgroup.__dataclass_fields__, *(name + end for name in RATES for end in ("", "_low", "_high", "_reason"))]


def evaluate_subgroups(sample: Sample, rows: pd.DataFrame, covariates: Covariates, settings: Settings) -> pd.DataFrame:
    """One row per group of each covariate and intersection; a patient is in the group of its first scan.

    `rows`, one a row of the two-class sample, name patient, split and fold.
    """
    found: list[dict[str, object]] = []
    for covariate, groups in groupings(rows, covariates, settings.intersections).items():
        if not any(groups):
            found.append(asdict(ungrouped(sample, covariate)))
        members = {name: sample.select((groups == name)[sample.patients]) for name in unique(groups)}
        evaluated = [evaluate_group(part, covariate, name, settings.confidence) for name, part in members.items()]
        p_value = difference(evaluated)
        for (row, _), part in zip(evaluated, members.values(), strict=True):
            found.append(asdict(row) | rates(part, settings) | {"p_value": p_value})
    return adjust_p_values(pd.DataFrame(found, columns=COLUMNS))


def adjust_p_values(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the p-values adjusted by Holm over all its covariates, also those of several classes."""
    tested = table.drop_duplicates("covariate").dropna(subset="p_value")
    adjusted = dict(zip(tested["covariate"], holm(tested["p_value"].to_numpy(dtype=float)), strict=True))
    return table.assign(adjusted_p_value=table["covariate"].map(adjusted).astype(float))


def rates(part: Sample, settings: Settings) -> dict[str, object]:
    """Value, interval and reason of each of `RATES` in a group."""
    metrics = select_metrics(part, settings)
    found = estimate_metrics(part, {name: metrics[name] for name in RATES}, settings)
    return {
        name + end: value
        for name, estimate in found.items()
        for end, value in (
            ("", estimate.value),
            ("_low", estimate.low),
            ("_high", estimate.high),
            ("_reason", estimate.reason),
        )
    }


def groupings(
    rows: pd.DataFrame, covariates: Covariates, intersections: tuple[tuple[str, ...], ...]
) -> dict[str, Array]:
    """(P,) name of each patient's group, by covariate, by intersection, and by whether its site was trained on."""
    patients = rows.drop_duplicates(PATIENT_ID)
    of_patients = covariates.cohort.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID).reindex(patients[PATIENT_ID])
    coded = {*covariates.acquisition, covariates.site}
    found = {name: group_names(of_patients[name], is_coded=name in coded) for name in covariates.subgroup_columns}
    for names in intersections:
        check_intersection(names, found)
        found[" and ".join(names)] = intersect([found[name] for name in names])
    unseen = site_is_unseen(patients, covariates)
    return found if unseen is None else found | {SEEN: np.where(unseen, "no", "yes")}


def check_intersection(names: tuple[str, ...], known: dict[str, Array]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(
                f"evaluation.intersections: '{name}' is not a covariate.{did_you_mean(name, known)} "
                f"Got {', '.join(known) or 'none'}; name covariates of the cohort."
            )


def intersect(parts: list[Array]) -> Array:
    """(P,) the groups' names joined; empty where one is missing."""
    return np.array([", ".join(names) if all(names) else "" for names in zip(*parts, strict=True)])


def group_names(values: pd.Series, *, is_coded: bool) -> Array:
    """(P,) name of each patient's group; empty where the value is missing, or for all where no group is large enough.

    Numbers that are codes are names.
    """
    text = values.fillna("").astype(str)
    present = text[text != ""]
    if present.nunique() <= MOST_VALUES:
        return text.to_numpy()
    numbers = pd.to_numeric(present, errors="coerce")
    if is_coded or numbers.isna().any():
        return common_names(text)
    middle = numbers.median()
    halves = numbers.map(lambda number: f"up to {middle:g}" if number <= middle else f"over {middle:g}")
    return halves.reindex(values.index, fill_value="").to_numpy()


def common_names(text: pd.Series) -> Array:
    """(P,) values with enough patients, the others as one group; empty for all where no value has enough."""
    counts = text[text != ""].value_counts()
    common = counts.index[counts >= PATIENTS_FOR_NAME]
    if common.empty:
        return np.full(len(text), "")
    return text.where(text.isin(common) | (text == ""), OTHER).to_numpy()


def ungrouped(sample: Sample, covariate: str) -> Subgroup:
    reason = f"no value has {PATIENTS_FOR_NAME} patients, or none is known"
    return Subgroup(covariate, ALL, sample.num_patients, None, None, None, reason=reason)


def unique(groups: Array) -> list[str]:
    return sorted({name for name in groups if name}, key=lambda name: (name.startswith("over"), name))


def evaluate_group(part: Sample, covariate: str, name: str, confidence: float) -> tuple[Subgroup, float | None]:
    """The row of the group whose patients are `part`, and the variance of its AUROC where it has one."""
    fewest = part.patients_of_class.min()
    if fewest < FEWEST_PATIENTS:
        reason = f"{fewest} patients of a class, an AUROC by group needs {FEWEST_PATIENTS}"
        return Subgroup(covariate, name, part.num_patients, None, None, None, reason=reason), None
    aurocs, covariance = clustered_auroc(part.labels == 1, part.probs[:, [1]], part.patients, part.folds)
    auroc, variance = float(aurocs[0]), float(covariance[0, 0])
    reason = reason_no_variance(variance)
    if reason:
        return Subgroup(covariate, name, part.num_patients, auroc, None, None, reason=reason), None
    low, high = logit_interval(auroc, variance, confidence)
    return Subgroup(covariate, name, part.num_patients, auroc, low, high), variance


def difference(evaluated: list[tuple[Subgroup, float | None]]) -> float | None:
    """p-value of equal AUROCs on the logit scale; None with fewer than two groups to compare."""
    pairs = [(row.auroc, variance) for row, variance in evaluated if row.auroc is not None and variance is not None]
    if len(pairs) < 2:
        return None
    aurocs, variances = np.array(pairs).T
    logits, precision = np.log(aurocs / (1 - aurocs)), (aurocs * (1 - aurocs)) ** 2 / variances
    center = (precision * logits).sum() / precision.sum()
    return float(chi2.sf((precision * (logits - center) ** 2).sum(), len(pairs) - 1))
