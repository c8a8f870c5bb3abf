"""Bootstrap of patients, the unit that a study samples.

Scans of one patient are drawn together. Patients are drawn within strata of equal label pattern (which classes their
scans have) and, where all such strata are large enough, of equal fold, so that every resample has the class
counts of the sample. n draws from a stratum of n patients have only (n - 1) / n of its variance; n - 1 draws, each
weighted n / (n - 1), have all of it (Rao and Wu, Journal of the American Statistical Association 1988;83:231-241).
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipeline.evaluation.sample import Array, Sample, Weighted

MetricFunction = Callable[[Weighted], Array]

SMALLEST_STRATUM = 10
"""Patients; smaller label patterns are drawn together, and folds are mixed."""
BLOCK_ELEMENTS = 400_000
"""Weights in memory at once: a block that fits the cache is several times faster than all resamples together."""


def bootstrap(
    sample: Sample, functions: Mapping[str, MetricFunction], num_resamples: int, seed: int
) -> dict[str, Array]:
    """Each metric in every resample, shape (num_resamples,)."""
    blocks = [
        {name: function(weighted) for name, function in functions.items()}
        for weighted in resamples(sample, num_resamples, seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in functions}


def resamples(sample: Sample, num_resamples: int, seed: int) -> Iterator[Weighted]:
    """The sample under bootstrap weights, a block of resamples at a time; the same seed gives the same blocks."""
    generator = np.random.default_rng(seed)
    strata = patient_strata(sample)
    block = max(1, BLOCK_ELEMENTS // max(1, len(sample.labels)))
    for start in range(0, num_resamples, block):
        drawn = draw_patients(strata, min(block, num_resamples - start), generator)
        yield sample.weighted(drawn[sample.patients].T)


def draw_patients(strata: Array, num_resamples: int, generator: np.random.Generator) -> Array:
    """(P, num_resamples) weight of each patient, drawn with replacement within each stratum.

    Resamples are contiguous in memory, so selecting rows copies whole lines.
    """
    counts = np.empty((len(strata), num_resamples))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        num_draws = max(len(members) - 1, 1)
        draws = generator.integers(len(members), size=(num_resamples, num_draws))
        draws += len(members) * np.arange(num_resamples)[:, None]
        drawn = np.bincount(draws.ravel(), minlength=num_resamples * len(members))
        counts[members] = drawn.reshape(num_resamples, -1).T * (len(members) / num_draws)
    return counts


def patient_strata(sample: Sample) -> Array:
    """(P,) number of the stratum of each patient."""
    seen = np.zeros((sample.num_patients, sample.num_classes), dtype=bool)
    seen[sample.patients, sample.labels] = True
    patterns = merge_rare(np.unique(seen, axis=0, return_inverse=True)[1].ravel())
    folds = np.zeros(sample.num_patients, dtype=int)
    folds[sample.patients] = sample.folds
    by_fold = np.unique(np.stack([patterns, folds], 1), axis=0, return_inverse=True)[1].ravel()
    return by_fold if np.bincount(by_fold).min() >= SMALLEST_STRATUM else patterns


def merge_rare(codes: Array) -> Array:
    """(P,) the codes from 0, with rare ones merged into one."""
    is_rare = np.bincount(codes)[codes] < SMALLEST_STRATUM
    return np.unique(np.where(is_rare, -1, codes), return_inverse=True)[1]
