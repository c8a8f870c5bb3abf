"""Bins: the places a group of patients can go to, and dealing the groups of a table into them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.config import Split
from pipeline.core.columns import DEVELOPMENT, LABEL, NESTED, TEST
from pipeline.splits.assignment import Deal, Measures, measure
from pipeline.splits.schemes import Place
from pipeline.splits.stratification import balance


@dataclass(frozen=True)
class Bin:
    """One place: the values of `split` and `fold`, and the share of all scans it should get."""

    split: str
    fold: int | None
    share: float

    @property
    def place(self) -> Place:
        return self.split, self.fold


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
    make_bins: Callable[[int], list[Bin]],
    settings: Split,
    earlier: Mapping[str, Place],
    repeat: int = 0,
) -> dict[str, Bin]:
    """The bin of every group of `table`, among those of split.num_folds; a group stays at the place it had `earlier`.

    Raises ValueError where a class has too few groups, with what would work.
    """
    measures, bins = measure(table, groups, settings.stratify), make_bins(settings.num_folds)
    placed, lacking = _deal(measures, bins, settings.seed, earlier, repeat)
    if lacking:
        remedy = _remedy(measures, make_bins, settings, is_continued=bool(earlier))
        raise ValueError(_too_small(table, groups, lacking, bins, remedy))
    return {group: bins[number] for group, number in zip(measures.groups, placed, strict=True)}


def _deal(
    measures: Measures, bins: Sequence[Bin], seed: int, earlier: Mapping[str, Place], repeat: int
) -> tuple[np.ndarray, list[str]]:
    """The number of the bin of each group, and the classes that some bin lacks."""
    number_of = {bin.place: number for number, bin in enumerate(bins)}
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


def _remedy(measures: Measures, make_bins: Callable[[int], list[Bin]], settings: Split, is_continued: bool) -> str:
    """What would give every part every class, tried out."""

    def works(bins: Sequence[Bin]) -> bool:
        return not _deal(measures, bins, settings.seed, {}, 0)[1]

    bins = make_bins(settings.num_folds)
    if is_continued and works(bins):
        return "patients keep their earlier places; delete splits.csv to divide all anew"
    fewest = 3 if settings.scheme == "nested" else 2
    for num_folds in range(settings.num_folds - 1, fewest - 1, -1):
        if len(make_bins(num_folds)) < len(bins) and works(make_bins(num_folds)):
            return f"the largest number that works is split.num_folds={num_folds}"
    without_test = [bin for bin in make_bins(fewest) if bin.split != TEST]
    if len(without_test) < len(make_bins(fewest)) and works(without_test):
        folds = f"split.num_folds={fewest} and " if len(without_test) < len(bins) - 1 else ""
        return f"no number of folds works beside a locked test set: add patients, or set {folds}split.test_fraction=0"
    return "no number of folds works: add patients, or join classes"


def _too_small(table: pd.DataFrame, groups: pd.Series, lacking: Sequence[str], bins: Sequence[Bin], remedy: str) -> str:
    counts = groups.groupby(table[LABEL].astype(str)).nunique()
    found = ", ".join(f"'{name}' in {counts[name]}" for name in lacking)
    parts = " + ".join(f"fold {bin.fold}" if bin.fold is not None else bin.split for bin in bins)
    return (
        f"splits: every part ({parts}) needs every class, but some class is in too few separate groups of patients: "
        f"found {found}, expected at least {len(bins)}; {remedy}."
    )
