"""How strongly logits depend on acquisition among patients of one class, and what that does to the AUROC.

A stratum is a class in a part (fold or test), since networks of different folds have scales of their own: logits are
replaced by normal scores of their ranks in the stratum. Columns are patients' features, (n, F).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from pipeline.evaluation.audits.null_models import p_value, shuffled_rows
from pipeline.evaluation.sample import Array

CONFIDENCE_Z = float(ndtri(0.975))
NUM_RESAMPLES = 400
NUM_KINDS = 3
"""Of acquisition, alike in number, where no column names the site."""
SMALLEST = 1e-9


@dataclass(frozen=True)
class Dependence:
    """Multiple correlation of the logits with features within strata, without what chance adds to it."""

    value: float
    """From 0 to 1; its square is the explained share of the variance."""
    low: float
    high: float
    p_value: float
    shift: float
    """The same as a difference of the logits of two acquisitions of equal number, in standard deviations in a class."""


def measure_dependence(
    classes: Array,
    parts: Array,
    logits: Array,
    features: Array,
    num_shuffles: int,
    generator: np.random.Generator,
    given: Array | None = None,
) -> Dependence | None:
    """Dependence of logits (n,) on features (n, F); with `given` (n, G), beyond what those explain in each class.

    Logits, or what `given` leaves of them, are shuffled within strata for the p-value (Freedman and Lane 1983). The
    interval is Fisher's of the correlation. None where logits or features do not vary.
    """
    strata = strata_of(classes, parts)
    left_over = Residuals.of(given, classes, strata)
    scores, columns = left_over(normal_scores(logits, strata)), left_over(standardized(features, strata))
    basis, singular, _ = np.linalg.svd(columns, full_matrices=False)
    basis, singular = basis[:, singular > SMALLEST], singular[singular > SMALLEST]
    if not len(singular) or (scores**2).sum() < SMALLEST:
        return None
    # Ridge, as in `probe_map`: many rare categories explain little.
    shrinkage = np.sqrt(singular**2 / (singular**2 + columns.shape[1]))
    shuffled = left_over(scores[shuffled_rows(strata, num_shuffles, generator)])
    explained, by_chance = (
        ((shrinkage[:, None] * (basis.T @ values)) ** 2).sum(0) / (values**2).sum(0)
        for values in (scores[:, None], shuffled)
    )
    share = float((explained[0] - by_chance.mean()) / (1 - by_chance.mean()))
    value = float(np.sqrt(max(share, 0.0)))
    freedom = max(len(scores) - len(np.unique(strata)) - left_over.rank - len(singular) - 2, 1)
    low, high = np.tanh(np.arctanh(min(value, 1 - SMALLEST)) + np.array([-1, 1]) * CONFIDENCE_Z / np.sqrt(freedom))
    # Two halves that differ by d standard deviations correlate with the logit by d / 2.
    shift = 2 * value * float(np.sqrt((scores**2).mean()))
    return Dependence(value, max(float(low), 0.0), float(high), p_value(explained[0], by_chance), shift)


@dataclass(frozen=True)
class Residuals:
    """Takes from columns (n, …) what an orthonormal basis (n, G) explains of them."""

    basis: Array

    @classmethod
    def of(cls, given: Array | None, classes: Array, strata: Array) -> "Residuals":
        """Of what `given` explains within strata, by a curve of its own in each class."""
        if given is None:
            return cls(np.empty((len(classes), 0)))
        curves = np.column_stack([bent(column) for column in given.T])
        columns = np.column_stack([curves * (classes == name)[:, None] for name in np.unique(classes)])
        basis, singular, _ = np.linalg.svd(standardized(columns, strata), full_matrices=False)
        return cls(basis[:, singular > SMALLEST * max(singular.max(), 1.0)])

    @property
    def rank(self) -> int:
        return self.basis.shape[1]

    def __call__(self, columns: Array) -> Array:
        return columns - self.basis @ (self.basis.T @ columns)


def strata_of(classes: Array, parts: Array) -> Array:
    """(n,) from 0: the class in its part."""
    found = [np.unique(values, return_inverse=True)[1] for values in (parts, classes)]
    return found[0] * (found[1].max() + 1) + found[1]


def bent(column: Array) -> Array:
    """(n, 1) or (n, 3) a column; if it has more than two values, its normal scores, their squares and cubes."""
    if len(np.unique(column)) <= 2:
        return column[:, None]
    scores = normal_scores(column, np.zeros(len(column)))
    return np.column_stack([scores, scores**2, scores**3])


def normal_scores(values: Array, strata: Array) -> Array:
    """(n,) quantile of the normal distribution at each value's rank in its stratum, centered."""
    scores = np.empty(len(values))
    for stratum in np.unique(strata):
        rows = strata == stratum
        found = ndtri((rankdata(values[rows]) - 0.5) / rows.sum())
        scores[rows] = found - found.mean()
    return scores


def standardized(columns: Array, strata: Array) -> Array:
    """(n, F) centered within strata, with variance 1 over all; constant ones are zero."""
    centered = columns.astype(float)
    for stratum in np.unique(strata):
        rows = strata == stratum
        centered[rows] -= centered[rows].mean(0)
    scale = centered.std(0)
    return np.divide(centered, scale, out=np.zeros_like(centered), where=scale > SMALLEST)


@dataclass(frozen=True)
class AurocByKind:
    """AUROC over all pairs of a part, and over pairs of one kind of acquisition."""

    auroc: float
    auroc_within: float
    auroc_shared: float
    """Over all pairs, weighted as if all kinds had the part's prevalence."""
    difference: float
    """`auroc` less `auroc_within`: what acquisition adds to the AUROC …"""
    low: float
    high: float
    """… with its 95 % interval, from resampled patients."""


def auroc_by_kind(
    labels: Array, logits: Array, parts: Array, kinds: Array, generator: np.random.Generator
) -> AurocByKind | None:
    """None without a kind that has both classes; `kinds` (n,) is an integer by patient."""
    counts = np.column_stack([np.ones(len(labels)), resampled(strata_of(labels, parts), generator)])
    both = np.unique(np.column_stack([parts, kinds]), axis=0, return_inverse=True)[1].ravel()
    over_all, within = (weighted_aurocs(labels, logits, groups, counts) for groups in (parts, both))
    if np.isnan(within[0]):
        return None
    shared = weighted_aurocs(labels, logits, parts, at_shared_prevalence(labels, parts, both, counts[:, :1]))
    low, high = np.nanquantile((over_all - within)[1:], (0.025, 0.975))
    difference = float(over_all[0] - within[0])
    return AurocByKind(float(over_all[0]), float(within[0]), float(shared[0]), difference, float(low), float(high))


def kinds_of_acquisition(acquisition: Array, parts: Array) -> Array:
    """(n,) from 0: which third of its part's scores each patient is in; equal scores stay together."""
    kinds = np.empty(len(parts), dtype=int)
    for part in np.unique(parts):
        rows = parts == part
        share = (rankdata(acquisition[rows]) - 0.5) / rows.sum()
        kinds[rows] = np.minimum((share * NUM_KINDS).astype(int), NUM_KINDS - 1)
    return kinds


def resampled(strata: Array, generator: np.random.Generator) -> Array:
    """(n, R) how often each patient is drawn, with replacement, within its stratum."""
    counts = np.empty((len(strata), NUM_RESAMPLES))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        counts[rows] = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), NUM_RESAMPLES).T
    return counts


def weighted_aurocs(labels: Array, logits: Array, groups: Array, weights: Array) -> Array:
    """(R,) AUROC over pairs of the same group, for each column of `weights` (n, R); NaN without such pairs."""
    wins, pairs = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for group in np.unique(groups):
        rows = groups == group
        positives, negatives = rows & labels, rows & ~labels
        order = np.argsort(logits[negatives])
        below = np.vstack([np.zeros(weights.shape[1]), weights[negatives][order].cumsum(0)])
        known = logits[negatives][order]
        beaten = sum(below[np.searchsorted(known, logits[positives], side)] for side in ("left", "right")) / 2
        wins += (weights[positives] * beaten).sum(0)
        pairs += weights[positives].sum(0) * below[-1]
    with np.errstate(invalid="ignore"):
        return wins / pairs


def at_shared_prevalence(labels: Array, parts: Array, kinds: Array, weights: Array) -> Array:
    """Weights (n, R) so changed that each kind has its part's prevalence; a kind of one class has none."""
    changed = np.zeros_like(weights)
    for kind in np.unique(kinds):
        rows = kinds == kind
        part = parts == parts[rows][0]
        for label in (True, False):
            chosen, share = rows & (labels == label), weights[part & (labels == label)].sum(0) / weights[part].sum(0)
            total = weights[chosen].sum(0)
            if len(np.unique(labels[rows])) == 2:
                changed[chosen] = weights[chosen] * share * weights[rows].sum(0) / total
    return changed
