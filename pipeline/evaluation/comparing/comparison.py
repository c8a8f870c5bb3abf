"""Do experiments differ on the same patients? Paired, clustered by patient, in words that claim no more than that.

One fitted model an experiment tells about these fitted models, not about their methods: that takes three seeds or more,
whose spread then widens the interval. Comparisons look at validation by default, so that the test set stays unseen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from pipeline.core.columns import VAL
from pipeline.evaluation.comparing.difference import normal_difference, resampled_difference
from pipeline.evaluation.comparing.pairing import Contender, pair_up
from pipeline.evaluation.precision.catalogue import is_right
from pipeline.evaluation.precision.mcnemar import clustered_mcnemar
from pipeline.evaluation.precision.power import smallest_detectable
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Array

SEEDS_FOR_METHODS = 3


@dataclass(frozen=True)
class Comparison:
    """`first` against `second`; differences are those of the first less those of the second. None has a reason."""

    first: str
    second: str
    is_primary: bool
    difference: float
    """Of the AUROCs."""
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p_value: float | None
    """The primary comparison's own; Holm's over the others."""
    accuracy_difference: float | None
    accuracy_p_value: float | None
    """McNemar's test at the thresholds frozen on validation; None where one has no threshold."""
    smallest_detectable: float | None
    """Difference of AUROCs that would be found with a chance of 80 % with these patients."""
    num_patients: int
    num_seeds: int
    """Of the experiment with fewer."""
    reason: str | None = None
    """Why the difference cannot be judged."""

    @property
    def subject(self) -> str:
        """What the comparison is about."""
        return "these methods" if self.num_seeds >= SEEDS_FOR_METHODS else "these fitted models"

    def in_words(self, level: float = 0.05) -> str:
        if self.reason:
            return f"No difference between {self.subject} can be judged ({self.difference:+.3f}): {self.reason}."
        size = f"{abs(self.difference):.3f} ({self.low:+.3f} to {self.high:+.3f})"
        if self.adjusted_p_value < level:
            better, worse = (self.first, self.second) if self.difference > 0 else (self.second, self.first)
            return f"Of {self.subject} {better} ranks patients better than {worse}, by {size}."
        return (
            f"No evidence of a difference between {self.subject} ({self.difference:+.3f}, "
            f"{self.low:+.3f} to {self.high:+.3f}); "
            f"with these patients one under {self.smallest_detectable:.3f} would often be missed."
        )


def compare_experiments(tables: Mapping[str, pd.DataFrame], settings: Settings, split: str = VAL) -> list[Comparison]:
    """All pairs of experiments, per patient; the first two named are the primary comparison.

    ValueError where they did not predict the same patients, or a class has too few of them.
    """
    contenders = pair_up(tables, settings, split)
    pairs = [compare_pair(first, second, settings) for first, second in combinations(contenders, 2)]
    if not pairs:
        return []
    others = [pair for pair in pairs[1:] if pair.p_value is not None]
    found = iter(holm(np.array([pair.p_value for pair in others])))
    adjusted = [
        pair if pair.p_value is None else replace(pair, adjusted_p_value=float(next(found))) for pair in pairs[1:]
    ]
    return [replace(pairs[0], is_primary=True), *adjusted]


def compare_pair(first: Contender, second: Contender, settings: Settings) -> Comparison:
    """Obuchowski's covariance for two classes, the paired clustered bootstrap for more; seeds widen either."""
    measure = normal_difference if first.pooled.is_binary else resampled_difference
    found = measure(first.seeds, second.seeds, settings)
    accuracy_difference, accuracy_p_value = compare_accuracies(first, second)
    return Comparison(
        first=first.name,
        second=second.name,
        is_primary=False,
        difference=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        adjusted_p_value=found.p_value,
        accuracy_difference=accuracy_difference,
        accuracy_p_value=accuracy_p_value,
        smallest_detectable=None if found.error is None else smallest_detectable(found.error),
        num_patients=first.pooled.num_patients,
        num_seeds=min(len(first.seeds), len(second.seeds)),
        reason=found.reason,
    )


def compare_accuracies(first: Contender, second: Contender) -> tuple[float, float] | tuple[None, None]:
    """Difference of the accuracies at the frozen thresholds with McNemar's p-value; None without both thresholds."""
    if first.pooled.is_binary and None in (first.pooled.threshold, second.pooled.threshold):
        return None, None
    right = [is_right(contender.pooled) for contender in (first, second)]
    return float(right[0].mean() - right[1].mean()), clustered_mcnemar(*right, first.pooled.patients)


def holm(p_values: Array) -> Array:
    """p-values adjusted for their number (Holm, Scandinavian Journal of Statistics 1979;6:65-70)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted
