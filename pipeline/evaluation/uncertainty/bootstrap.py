"""Bootstrap of patients, the unit that a study samples.

Scans of one patient are drawn together. Patients are drawn regardless of their labels, because a cohort has as many of
each class as it happens to have: keeping the counts would make intervals of everything that depends on prevalence far
too narrow. n draws from n patients have only (n - 1) / n of the variance; n - 1 draws, each weighted n / (n - 1), have
all of it (Rao and Wu, Journal of the American Statistical Association 1988;83:231-241).
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipeline.evaluation.sample import Array, Sample, Weighted

MetricFunction = Callable[[Weighted], Array]

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
    block = max(1, BLOCK_ELEMENTS // max(1, len(sample.labels)))
    for start in range(0, num_resamples, block):
        drawn = draw_patients(sample.num_patients, min(block, num_resamples - start), generator)
        yield sample.weighted(drawn[sample.patients].T)


def draw_patients(num_patients: int, num_resamples: int, generator: np.random.Generator) -> Array:
    """(P, num_resamples) weight of each patient, drawn with replacement.

    Resamples are contiguous in memory, so selecting rows copies whole lines.
    """
    num_draws = max(num_patients - 1, 1)
    draws = generator.integers(num_patients, size=(num_resamples, num_draws))
    draws += num_patients * np.arange(num_resamples)[:, None]
    drawn = np.bincount(draws.ravel(), minlength=num_resamples * num_patients)
    return drawn.reshape(num_resamples, -1).T * (num_patients / num_draws)
