"""Shares of rows, with the design effect of several scans per patient, and combinations of shares.

A combination's interval comes from the intervals of its shares (method of variance estimates recovery: Zou and Donner,
Statistics in Medicine 2008;27:1693-1702), so it stays sensible where a share is 0 or 1. Shares of the same patients are
correlated, which the sums of residuals of each patient show.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from pipeline.evaluation.sample import Array
from pipeline.evaluation.uncertainty.intervals import normal_quantile, student_quantile, wilson_bounds


@dataclass(frozen=True, eq=False)
class ShareEstimate:
    """A share with its interval."""

    value: float
    low: float
    high: float
    num_patients: int
    """With rows that the share is about."""
    residuals: Array
    """(P,) of each patient: its hits minus those expected from the share."""


def estimate_share(hits: Array, among: Array, patients: Array, confidence: float) -> ShareEstimate:
    """Share of `hits` (n,) in `among` (n,), both boolean; `patients` (n,) from 0. Wilson's interval."""
    num_rows, num_patients = int(among.sum()), int(patients.max(initial=-1)) + 1
    if num_rows == 0:
        return ShareEstimate(np.nan, np.nan, np.nan, 0, np.zeros(num_patients))
    own, right = patients[among], hits[among].astype(float)
    rows_of_patient = np.bincount(own, minlength=num_patients)
    value, concerned = float(right.mean()), int(np.count_nonzero(rows_of_patient))
    residuals = np.bincount(own, weights=right, minlength=num_patients) - value * rows_of_patient
    count = effective_count(value, residuals, num_rows, concerned)
    # A design effect that was estimated from few patients is itself uncertain.
    is_clustered = concerned < num_rows
    quantile = student_quantile(confidence, concerned - 1) if is_clustered else normal_quantile(confidence)
    return ShareEstimate(value, *wilson_bounds(value, count, quantile), concerned, residuals)


def effective_count(share: float, residuals: Array, num_rows: int, num_patients: int) -> float:
    """Effective sample size: the number of rows divided by the design effect, at most the number of rows.

    `residuals` (P,) are each patient's hits minus the expected ones. Where all rows agree the design effect is unknown:
    each patient counts once.
    """
    if num_patients == num_rows or share in (0, 1) or num_patients < 2:
        return float(num_patients)
    clustered = num_patients / (num_patients - 1) * (residuals**2).sum()
    return float(num_rows / max(1.0, clustered / (num_rows * share * (1 - share))))


def combine_shares(shares: Sequence[ShareEstimate], weights: Array) -> tuple[float, float] | str:
    """(low, high) of the weighted sum of shares."""
    if any(share.num_patients == 0 for share in shares):
        return "a share has no rows, so without an interval"
    value = sum(weight * share.value for weight, share in zip(weights, shares, strict=True))
    down = np.array([share.value - share.low for share in shares])
    up = np.array([share.high - share.value for share in shares])
    correlation = correlations(shares)
    towards_low = weights * np.where(weights > 0, down, up)
    towards_high = weights * np.where(weights > 0, up, down)
    low, high = (np.sqrt(max(0.0, reach @ correlation @ reach)) for reach in (towards_low, towards_high))
    return float(value - low), float(value + high)


def correlations(shares: Sequence[ShareEstimate]) -> Array:
    """(S, S) correlation of the shares over patients; 0 where a share does not vary."""
    residuals = np.stack([share.residuals for share in shares])
    covariance = residuals @ residuals.T
    spread = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    correlation = covariance / np.outer(spread, spread)
    np.fill_diagonal(correlation, 1)
    return correlation


def odds_ratio_interval(value: float, correct: ShareEstimate, wrong: ShareEstimate) -> tuple[float, float] | str:
    """(low, high) of a predictive value, whose odds grow with correct / (1 - wrong)."""
    reach = log_ratio_reach(correct, wrong)
    if isinstance(reach, str):
        return reach
    log_odds = np.log(value) - np.log1p(-value)
    return float(expit(log_odds - reach[0])), float(expit(log_odds + reach[1]))


def ratio_interval(
    correct: ShareEstimate, wrong: ShareEstimate, *, is_inverse: bool = False
) -> tuple[float, float] | str:
    """(low, high) of the likelihood ratio correct / (1 - wrong), or of its inverse."""
    reach = log_ratio_reach(correct, wrong)
    if isinstance(reach, str):
        return reach
    ratio = np.log(correct.value / (1 - wrong.value))
    low, high = np.exp([ratio - reach[0], ratio + reach[1]])
    return (float(1 / high), float(1 / low)) if is_inverse else (float(low), float(high))


def log_ratio_reach(correct: ShareEstimate, wrong: ShareEstimate) -> tuple[float, float] | str:
    """How far the interval of log(correct / (1 - wrong)) reaches down and up; the reason where one of them is none."""
    if correct.num_patients == 0 or wrong.num_patients == 0:
        return "a share has no rows, so without an interval"
    if correct.value == 0 or wrong.value == 1:
        return "sensitivity or specificity is 0 or 1, so without an interval"
    false_rate, false_low, false_high = 1 - wrong.value, 1 - wrong.high, 1 - wrong.low
    with np.errstate(divide="ignore"):
        down = np.hypot(np.log(correct.value / correct.low), np.log(false_high / false_rate))
        up = np.hypot(np.log(correct.high / correct.value), np.log(false_rate / false_low))
    return float(down), float(up)
