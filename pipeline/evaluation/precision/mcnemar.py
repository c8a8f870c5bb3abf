"""Do two models call equally many right? McNemar's exact test, with the patient as the unit.

If the models are equally good, a patient's scans that only the first calls right less those that only the second does
could as well have the other sign. The p-value counts all choices of signs; with one scan a patient it is the exact
McNemar test.
"""

import numpy as np

from pipeline.evaluation.tables.sample import Array


def clustered_mcnemar(first_right: Array, second_right: Array, patients: Array) -> float:
    """Two-sided p-value; the first two are (n,) boolean, `patients` (n,) from 0."""
    surplus = np.bincount(patients, weights=first_right.astype(float) - second_right.astype(float))
    sizes = np.abs(surplus[surplus != 0]).astype(int)
    chances = sign_flips(sizes)
    sums = np.arange(len(chances)) - sizes.sum()
    return float(min(1.0, chances[np.abs(sums) >= abs(surplus.sum()) - 1e-9].sum()))


def sign_flips(sizes: Array) -> Array:
    """Chances of each sum from -S to S, where S is the sum of the `sizes`, each added or taken away by a coin."""
    chances = np.ones(1)
    for size in sizes:
        step = np.zeros(2 * size + 1)
        step[[0, -1]] = 0.5
        chances = np.convolve(chances, step)
    return chances
