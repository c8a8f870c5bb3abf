"""Bins: the places a group of patients can go to, and dealing the groups of a table into them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.artifacts import DEVELOPMENT, LABEL, NESTED, TEST
from pipeline.config import Split
from pipeline.splits.balancing import Deal, balance
from pipeline.splits.measures import Measures, measure


@dataclass(frozen=True)
class Bin:
    """One place: the values of `split` and `fold`, and the share of all scans it should get."""

    split: str
    fold: int | None
    share: float


def bins_of(settings: Split, num_folds: int, first_fold: int = 0) -> list[Bin]:
    """The bins that a scheme deals patients into; those without a share are left out."""
    test, develop = settings.test_fraction, 1 - settings.test_fraction
    folds = [Bin(DEVELOPMENT, first_fold + fold, develop / num_folds) for fold in range(num_folds)]
    bins = {
        "folds": [Bin(TEST, None, test), *folds],
        "dates": folds,
        "nested": [Bin(NESTED, part, 1 / num_folds) for part in range(num_folds)],
        "sites": [Bin(TEST, None, test), Bin(DEVELOPMENT, None, develop)],
        "holdout": [
            Bin(TEST, None, test),
            Bin(DEVELOPMENT, 0, develop * settings.val_fraction),
            Bin(DEVELOPMENT, None, develop * (1 - settings.val_fraction)),
        ],
    }[settings.scheme]
    return [bin for bin in bins if bin.share > 0]


def deal_groups(
    table: pd.DataFrame,
    groups: pd.Series,
    bins: Sequence[Bin],
    settings: Split,
    earlier: Mapping[str, tuple[str, int | None]],
    repeat: int = 0,
) -> dict[str, Bin]:
    """The bin of every group of `table`; a group stays at the (split, fold) it had `earlier`.

    Raises ValueError where a class has too few groups, with the largest number of folds that works.
    """
    measures = measure(table, groups, settings.stratify)
    placed, lacking = _deal(measures, bins, settings.seed, earlier, repeat)
    if lacking:
        works = _largest_number_of_folds(measures, settings) if not earlier else None
        raise ValueError(_too_small(table, groups, lacking, bins, works))
    return {group: bins[number] for group, number in zip(measures.groups, placed, strict=True)}


def _deal(
    measures: Measures, bins: Sequence[Bin], seed: int, earlier: Mapping[str, tuple[str, int | None]], repeat: int
) -> tuple[np.ndarray, list[str]]:
    """The number of the bin of each group, and the classes that some bin lacks."""
    number_of = {(bin.split, bin.fold): number for number, bin in enumerate(bins)}
    shares = np.array([bin.share for bin in bins])
    deal = Deal(
        makeup=measures.makeup,
        shares=shares / shares.sum(),
        weights=measures.weights,
        num_classes=len(measures.classes),
        fixed=np.array([number_of[earlier[group]] if group in earlier else -1 for group in measures.groups]),
    )
    placed = balance(deal, np.random.default_rng([seed, repeat]))
    missing = (deal.contents(placed)[:, : deal.num_classes] == 0).any(0)
    return placed, [name for name, is_missing in zip(measures.classes, missing, strict=True) if is_missing]


def _largest_number_of_folds(measures: Measures, settings: Split) -> int | None:
    """The most folds, from two, that hold every class each; None where not even two do."""
    for num_folds in range(settings.num_folds - 1, 1, -1):
        if not _deal(measures, bins_of(settings, num_folds), settings.seed, {}, 0)[1]:
            return num_folds
    return None


def _too_small(
    table: pd.DataFrame, groups: pd.Series, lacking: Sequence[str], bins: Sequence[Bin], works: int | None
) -> str:
    counts = groups.groupby(table[LABEL].astype(str)).nunique()
    found = ", ".join(f"'{name}' in {counts[name]}" for name in lacking)
    remedy = (
        f"the largest number that works is split.num_folds={works}"
        if works
        else ("no number of folds works: add patients, join classes, or set split.test_fraction=0")
    )
    parts = " + ".join(f"fold {bin.fold}" if bin.fold is not None else bin.split for bin in bins)
    return (
        f"splits: every part ({parts}) needs every class, but some class is in too few separate groups of patients: "
        f"found {found}, expected at least {len(bins)}; {remedy}."
    )
