"""Linear probes: ridge regressions of ±1 labels, whose scores are one matrix times the labels.

Fitting all shuffles of the labels is then one product. n rows seen, m judged, F features.
"""

import numpy as np

from pipeline.evaluation.cv_design import rounds
from pipeline.evaluation.sample import Array

NOISE = 1.0
"""Variance of the label's noise against that of the signal; with standardised features, the ridge's penalty."""


def probe_map(seen: Array, judged: Array) -> Array:
    """(m, n) matrix that takes the labels of `seen` (n, F), as numbers, to the scores of `judged` (m, F)."""
    mean, scale = seen.mean(0), seen.std(0)
    varies = scale > 0
    known, asked = ((rows[:, varies] - mean[varies]) / scale[varies] for rows in (seen, judged))
    num_seen, num_features = known.shape
    kernel = known @ known.T / max(num_features, 1)
    centring = np.eye(num_seen) - 1 / num_seen
    # Features are centred, so that taking the labels' mean off beforehand fits the intercept.
    return (asked @ known.T / max(num_features, 1)) @ np.linalg.solve(kernel + NOISE * np.eye(num_seen), centring)


def held_out_scores(features: Array, labels: Array, parts: Array) -> Array:
    """(n, R) score of each row by probes that never saw its part, fitted to each column of `labels` (n, R).

    `features` (n, F); `parts` (n,) as `parts_of` gives them. NaN for rows that are never judged, or by nobody.
    """
    scores = np.full(labels.shape, np.nan)
    for seen, judged in rounds(parts):
        if seen.any():
            scores[judged] = probe_map(features[seen], features[judged]) @ labels[seen]
    return scores
