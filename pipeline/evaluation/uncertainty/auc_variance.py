"""Variance of the AUROC with clustered scans (Obuchowski), and the clustered McNemar test."""

import numpy as np
from scipy.stats import rankdata

from pipeline.evaluation.sample import Array

NO_SPREAD = 1e-14
"""Variances under this are zero up to rounding."""


def clustered_auroc(is_positive: Array, scores: Array, patients: Array, folds: Array) -> tuple[Array, Array]:
    """AUROC of S scores on the same rows, shape (S,), and their covariance, shape (S, S).

    `is_positive` (n,) boolean, `scores` (n, S), `patients` and `folds` (n,). Folds hold different patients, and are
    combined by their number of pairs; a fold without both classes has none.
    """
    num_scores = scores.shape[1]
    aurocs, covariance, all_pairs = np.zeros(num_scores), np.zeros((num_scores, num_scores)), 0
    for fold in np.unique(folds):
        rows = folds == fold
        pairs = int(is_positive[rows].sum()) * int((~is_positive[rows]).sum())
        if pairs:
            fold_aurocs, fold_covariance = within_fold(is_positive[rows], scores[rows], patients[rows])
            aurocs += pairs * fold_aurocs
            covariance += pairs**2 * fold_covariance
            all_pairs += pairs
    if not all_pairs:
        return np.full(num_scores, np.nan), np.full((num_scores, num_scores), np.nan)
    return aurocs / all_pairs, covariance / all_pairs**2


def reason_no_variance(variance: float) -> str | None:
    """Why a variance cannot be used, None where it can."""
    if not np.isfinite(variance):
        return "a fold has a single patient of a class, which gives no variance"
    if variance < NO_SPREAD:
        return "the classes are separated, or the scores do not vary"
    return None


def within_fold(is_positive: Array, scores: Array, patients: Array) -> tuple[Array, Array]:
    placed = np.stack([placements(is_positive, column) for column in scores.T], axis=1)
    aurocs = placed[is_positive].mean(0)
    excess = placed - aurocs
    of_positives = patient_sums(excess, patients, is_positive)
    of_negatives = patient_sums(excess, patients, ~is_positive)
    crossed = of_positives.T @ of_negatives
    covariance = (
        spread(patients[is_positive]) * of_positives.T @ of_positives
        + spread(patients[~is_positive]) * of_negatives.T @ of_negatives
        + spread(patients) * (crossed + crossed.T)
    )
    return aurocs, covariance


def placements(is_positive: Array, scores: Array) -> Array:
    """(n,) share of the other class that each row is ranked correctly against; ties count half."""
    ranks = rankdata(scores)
    placed = np.empty(len(scores))
    for rows in (is_positive, ~is_positive):
        placed[rows] = (ranks[rows] - rankdata(scores[rows])) / (~rows).sum()
    placed[~is_positive] = 1 - placed[~is_positive]
    return placed


def patient_sums(excess: Array, patients: Array, rows: Array) -> Array:
    """(P, S) sum of each patient's excess over the chosen rows, in shares of these rows."""
    codes = np.unique(patients, return_inverse=True)[1]
    sums = np.zeros((codes.max() + 1, excess.shape[1]))
    np.add.at(sums, codes[rows], excess[rows])
    return sums / rows.sum()


def spread(patients: Array) -> float:
    """Bessel's factor; NaN for a single patient, which gives no variance."""
    count = len(np.unique(patients))
    return count / (count - 1) if count > 1 else np.nan


def clustered_mcnemar(first_right: Array, second_right: Array, patients: Array) -> float:
    """Two-sided p-value; the first two are (n,) boolean, `patients` (n,) from 0."""
    surplus = np.bincount(patients, weights=first_right.astype(float) - second_right.astype(float))
    sizes = np.abs(surplus[surplus != 0]).astype(int)
    chances = sign_flips(sizes)
    sums = np.arange(len(chances)) - sizes.sum()
    return float(min(1.0, chances[np.abs(sums) >= abs(surplus.sum()) - 1e-9].sum()))


def sign_flips(sizes: Array) -> Array:
    """Probability of each sum from -S to S, where S is the sum of the `sizes`, each with a random sign."""
    chances = np.ones(1)
    for size in sizes:
        step = np.zeros(2 * size + 1)
        step[[0, -1]] = 0.5
        chances = np.convolve(chances, step)
    return chances
