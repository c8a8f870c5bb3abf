"""Resampling patients: the unit that was sampled from the world, and that the next study will sample again.

Scans of one patient are drawn together. Patients are drawn within strata of equal label pattern (which classes their
scans have) and fold, so that every resample holds every class of every fold, as the sample does.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from pipeline.evaluation.tables.sample import Array, Sample, Weighted

Figure = Callable[[Weighted], Array]

BLOCK_ELEMENTS = 400_000
"""Weights held at once: a block that stays in the cache is several times faster than all resamples together."""


def bootstrap(sample: Sample, figures: Mapping[str, Figure], num_resamples: int, seed: int) -> dict[str, Array]:
    """Each figure in every resample, shape (num_resamples,)."""
    blocks = [
        {name: figure(weighted) for name, figure in figures.items()}
        for weighted in resamples(sample, num_resamples, seed)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in figures}


def resamples(sample: Sample, num_resamples: int, seed: int) -> Iterator[Weighted]:
    """The sample under bootstrap weights, a block of resamples at a time; the same seed gives the same blocks."""
    generator = np.random.default_rng(seed)
    strata = patient_strata(sample)
    block = max(1, BLOCK_ELEMENTS // max(1, len(sample.labels)))
    for start in range(0, num_resamples, block):
        drawn = draw_patients(strata, min(block, num_resamples - start), generator)
        yield sample.weighted(drawn[sample.patients].T)


def draw_patients(strata: Array, num_resamples: int, generator: np.random.Generator) -> Array:
    """(P, num_resamples) how often each patient is drawn, with replacement within each stratum.

    Resamples lie side by side in memory: picking rows then copies whole lines of them.
    """
    counts = np.empty((len(strata), num_resamples))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        draws = generator.integers(len(members), size=(num_resamples, len(members)))
        draws += len(members) * np.arange(num_resamples)[:, None]
        drawn = np.bincount(draws.ravel(), minlength=num_resamples * len(members))
        counts[members] = drawn.reshape(num_resamples, -1).T
    return counts


def patient_strata(sample: Sample) -> Array:
    """(P,) number of the stratum of each patient."""
    seen = np.zeros((sample.num_patients, sample.num_classes), dtype=bool)
    seen[sample.patients, sample.labels] = True
    folds = np.zeros(sample.num_patients, dtype=int)
    folds[sample.patients] = sample.folds
    return pd.factorize(pd.MultiIndex.from_arrays([folds, *seen.T]))[0]
