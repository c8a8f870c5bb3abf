"""Fit the input guard of a training: checks on training scans, limits from validation scans.

Axes: N scans, F features.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from sklearn.covariance import ledoit_wolf_shrinkage

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import SCAN_ID, TRAIN, VAL
from pipeline.core.paths import CohortPaths
from pipeline.core.progress import show_progress
from pipeline.data.dataset import stored_images
from pipeline.imaging.reference_range import ScanMeasures, measure_row
from pipeline.inference.input_guard import (
    TITLES,
    Check,
    Density,
    Features,
    InputGuard,
    Mahalanobis,
    Neighbors,
    guard_features,
)
from pipeline.inference.predictor import Predictor, Volume
from pipeline.store.store import Store
from pipeline.training.linear_probe import feature_scale

MIN_TRAIN, MIN_VAL = 30, 19
"""Scans; with fewer of validation there is no distance that 95 % keep."""
MAX_TRAIN, MAX_CORRUPTED = 128, 6
"""Scans that are compared with, and scans that are corrupted."""
FALSE_ALARMS = 0.05
SMALLEST_DEVIATION = {"geometry": 0.05, "intensity": 0.02}
"""What varies less over training scans is alike: logarithms of sizes, and intensities about 1."""
SMALLEST_LIMIT = {"geometry": 1.0, "values": float(np.log(1.25)), "intensity": 1e-3, "embedding": 1e-3}
"""Distances that are never an alarm, where all validation scans are equal."""
MAX_DIRECTIONS = 64
Embeddings = Sequence[NDArray[np.float32]]
FeaturesByCheck = dict[str, Features]
"""Features (N, F) of some scans, for each check."""


def fit_guard(
    trained: Predictor, cohort: CohortPaths, rows: Mapping[str, pd.DataFrame], of_validation: Sequence[Embeddings]
) -> InputGuard:
    """The guard of a training, whose fold has these rows of each part; one without checks for a small cohort.

    `of_validation` are the embeddings of the validation scans, in their order.
    """
    ids = {part: rows[part][SCAN_ID].tolist() for part in (TRAIN, VAL)}
    if len(ids[TRAIN]) < MIN_TRAIN or len(ids[VAL]) < MIN_VAL:
        return InputGuard(
            reason=f"{len(ids[TRAIN])} training and {len(ids[VAL])} validation scans, an input guard needs {MIN_TRAIN} "
            f"and {MIN_VAL}"
        )
    measures, store = read_measures(cohort), Store(cohort.preprocessed)
    chosen = spread(ids[TRAIN], MAX_TRAIN)
    features = {TRAIN: predicted_features(trained, measured_volumes(measures, store, chosen), len(chosen))}
    pairs = zip(measured_volumes(measures, store, ids[VAL]), of_validation, strict=True)
    features[VAL] = stack_features(guard_features(*scan, embeddings) for scan, embeddings in pairs)
    corrupted = corrupted_features(trained, list(measured_volumes(measures, store, spread(ids[VAL], MAX_CORRUPTED))))
    candidates = {kind: fit_checks(features, kind) for kind in DENSITIES}
    found = {kind: detection(checks, corrupted) for kind, checks in candidates.items()}
    best = max(found, key=found.__getitem__)
    summary = {
        "num_train": len(chosen),
        "num_val": len(ids[VAL]),
        "num_val_warned": int((distances(candidates[best], features[VAL]) > 1).sum()),
        "embedding": best,
        "detected_corruptions": {kind: share for kind, (share, _) in found.items()},
    }
    orientations = tuple(sorted({measures[name].orientation for name in ids[TRAIN]}))
    return InputGuard(candidates[best], orientations, summary)


def spread(names: list[str], most: int) -> list[str]:
    """At most so many of them, evenly spaced."""
    places = np.linspace(0, len(names) - 1, min(most, len(names)))
    return [names[place] for place in np.unique(places.round().astype(int))]


def read_measures(cohort: CohortPaths) -> dict[str, ScanMeasures]:
    """Geometry and values of each scan, as ingest measured them."""
    return {row[SCAN_ID]: measure_row(row) for row in read_cohort(cohort.cohort).to_dict("records")}


def measured_volumes(
    measures: Mapping[str, ScanMeasures], store: Store, names: Sequence[str]
) -> Iterator[tuple[ScanMeasures, Volume]]:
    """Each scan's measures and its preprocessed volume (C, D, H, W), one at a time."""
    return zip((measures[name] for name in names), stored_images(store, names), strict=True)


def predicted_features(trained: Predictor, scans: Iterable[tuple[ScanMeasures, Volume]], count: int) -> FeaturesByCheck:
    shown = show_progress(scans, count, "input guard")
    return stack_features(guard_features(*scan, trained.predict(scan[1]).embeddings) for scan in shown)


def stack_features(found: Iterable[dict[str, Features]]) -> FeaturesByCheck:
    rows = list(found)
    return {name: np.stack([row[name] for row in rows]) for name in TITLES}


def fit_checks(features: Mapping[str, FeaturesByCheck], embedding_kind: str) -> dict[str, Check]:
    """Checks whose limits, alone and together, are passed by at most 5 % of scans like those of validation."""
    checks = {}
    for name in TITLES:
        kind = embedding_kind if name == "embedding" else "neighbors"
        density = DENSITIES[kind](features[TRAIN][name], scale_of(name, features[TRAIN][name]))
        limit = max(upper_limit(density.distances(features[VAL][name])), SMALLEST_LIMIT[name])
        checks[name] = Check(kind, density, limit)
    together = max(upper_limit(distances(checks, features[VAL])), 1.0)
    return {name: Check(check.kind, check.density, check.limit * together) for name, check in checks.items()}


def upper_limit(values: Features) -> float:
    """The smallest of the values that a new one of their kind exceeds with a probability of 5 % at most."""
    rank = int(np.ceil((len(values) + 1) * (1 - FALSE_ALARMS)))
    return float(np.sort(values)[rank - 1])


def scale_of(name: str, features: Features) -> Features:
    """What the features (N, F) of a check are divided by, (F,)."""
    if name == "values":
        # Logarithms: a factor means the same whether or not several scanners differ in it.
        return np.ones(features.shape[1])
    if name == "embedding":
        return feature_scale(features)
    return np.maximum(features.std(axis=0), SMALLEST_DEVIATION[name])


def fit_neighbors(features: Features, scale: Features) -> Neighbors:
    return Neighbors(scale, features / scale)


def fit_mahalanobis(features: Features, scale: Features) -> Mahalanobis:
    """From features (N, F), of which F may be far more than N."""
    scaled = features / scale
    mean = scaled.mean(axis=0)
    _, singular, directions = np.linalg.svd(scaled - mean, full_matrices=False)
    kept = slice(min(MAX_DIRECTIONS, len(features) // 2))
    variances = singular**2 / len(features)
    sphere = variances.sum() / features.shape[1]
    shrinkage = max(float(ledoit_wolf_shrinkage(scaled)), 0.01)
    shrunk = np.append((1 - shrinkage) * variances[kept] + shrinkage * sphere, 0.0)
    others = features.shape[1] - len(shrunk) + 1
    shrunk[-1] = (1 - shrinkage) * variances[kept.stop :].sum() / max(others, 1) + shrinkage * sphere
    return Mahalanobis(scale, mean, directions[kept], np.maximum(shrunk, np.finfo(np.float32).tiny))


DENSITIES: dict[str, Callable[[Features, Features], Density]] = {
    "neighbors": fit_neighbors,
    "mahalanobis": fit_mahalanobis,
}


def distances(checks: Mapping[str, Check], features: FeaturesByCheck) -> Features:
    """The largest distance (N,) of each scan over all checks."""
    return np.max([check.ratios(features[name]) for name, check in checks.items()], axis=0)


def detection(checks: Mapping[str, Check], corrupted: FeaturesByCheck) -> tuple[float, float]:
    """The share of corrupted scans beyond the limit of the embedding alone, and how far beyond they are on average."""
    ratios = checks["embedding"].ratios(corrupted["embedding"])
    return float((ratios > 1).mean()), float(np.log(np.maximum(ratios, 1e-6)).mean())


def corrupted_features(trained: Predictor, scans: Sequence[tuple[ScanMeasures, Volume]]) -> FeaturesByCheck:
    made = [(measured, changed) for measured, volume in scans for changed in corruptions(volume)]
    return predicted_features(trained, made, len(made))


def corruptions(volume: Volume) -> Iterator[Volume]:
    """What a preprocessed volume (C, D, H, W) could look like if it were not a scan of the cohort's kind."""
    spatial = volume.shape[1:]
    yield np.random.default_rng(0).permuted(volume.reshape(len(volume), -1), axis=1).reshape(volume.shape)
    yield np.full_like(volume, volume.mean())
    yield -volume
    yield np.stack([gaussian_filter(channel, [size / 12 for size in spatial]) for channel in volume])
    yield np.roll(volume, [size // 2 for size in spatial], axis=(1, 2, 3))
    yield np.stack([magnify(channel) for channel in volume])
    yield cut_border(volume)


def magnify(channel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle of (D, H, W), one and a half times as large."""
    middle = tuple(slice(size // 6, size // 6 + max(2, round(size / 1.5))) for size in channel.shape)
    part = channel[middle]
    factors = [size / own for size, own in zip(channel.shape, part.shape, strict=True)]
    return zoom(part, factors, order=1).astype(np.float32)


def cut_border(volume: Volume) -> Volume:
    """The outer sixth at each end replaced by the minimum."""
    inner = tuple(slice(size // 6, size - size // 6) for size in volume.shape[1:])
    cut = np.broadcast_to(volume.min(axis=(1, 2, 3), keepdims=True), volume.shape).copy()
    cut[:, *inner] = volume[:, *inner]
    return cut
