"""Input guard: is a scan like those that a run was trained on? Out-of-distribution detection with known false alarms.

A check compares some features of a scan with those of training scans, by the mean distance to the nearest of them (Sun
et al., arXiv:2204.06507) or by a shrunk Mahalanobis distance (Lee et al., arXiv:1807.03888). Distances are in units of
the one that 95 % of the validation scans keep, over all checks together. Axes: N scans, F features, R directions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.spatial.distance import cdist

from pipeline.core.io import sha256, whole_file
from pipeline.core.paths import RunPaths, TrainingPaths
from pipeline.imaging.reference_range import AXES, ScanMeasures
from pipeline.inference.predictor import Predictor, Volume
from pipeline.store.simple_features import summarize

FORMAT = 1
"""Version of the content of a guard's file."""
NUM_NEIGHBORS = 5
REFUSED_FROM = 2.0
"""Distance from which a scan is refused; from 1 on it is warned of."""
TITLES = {
    "geometry": "voxel size and field of view",
    "values": "range of values",
    "intensity": "intensities",
    "embedding": "features of the last stage",
}
"""The checks, in the order in which they are named."""
SMALLEST_SPAN, BINARY, FARTHEST = 1e-9, 10.0, 1e9
Features = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What the guard says of a scan."""

    verdict: Literal["ok", "warn", "refuse"] | None
    """None where there is no guard."""
    distance: float | None = None
    """From the training scans; 95 % of the validation scans are within 1."""
    reason: str | None = None
    """Each check beyond 1 with its distance, or why there is no guard."""


class Density(Protocol):
    """What a check compares with; its arrays are what is stored."""

    def distances(self, features: Features) -> Features:
        """(N, F) -> (N,)"""
        ...


@dataclass(frozen=True)
class Neighbors:
    """Mean Euclidean distance to the nearest training scans, features divided by `scale` (F,)."""

    scale: Features
    references: Features
    """(N, F), scaled."""

    def distances(self, features: Features) -> Features:
        nearest = np.sort(cdist(features / self.scale, self.references), axis=1)
        return nearest[:, :NUM_NEIGHBORS].mean(axis=1)


@dataclass(frozen=True)
class Mahalanobis:
    """Distance in a covariance shrunk towards a sphere (Ledoit and Wolf 2004), kept by its leading directions."""

    scale: Features
    mean: Features
    directions: Features
    """(R, F), orthonormal."""
    variances: Features
    """(R + 1,): along each direction, and along all others."""

    def distances(self, features: Features) -> Features:
        centered = features / self.scale - self.mean
        along = centered @ self.directions.T
        rest = np.maximum((centered**2).sum(1) - (along**2).sum(1), 0)
        return np.sqrt((along**2 / self.variances[:-1]).sum(1) + rest / self.variances[-1])


DENSITIES: dict[str, type[Neighbors] | type[Mahalanobis]] = {"neighbors": Neighbors, "mahalanobis": Mahalanobis}


@dataclass(frozen=True)
class Check:
    """One comparison, and the distance that stands for 1."""

    kind: str
    """A key of DENSITIES."""
    density: Density
    limit: float

    def ratios(self, features: Features) -> Features:
        """Distances (N,) of features (N, F)."""
        # A network's features may overflow; no number is farther than this one.
        return np.nan_to_num(self.density.distances(features) / self.limit, nan=FARTHEST, posinf=FARTHEST)


@dataclass(frozen=True)
class InputGuard:
    """All checks of one training, or none with the reason."""

    checks: Mapping[str, Check] = field(default_factory=dict)
    orientations: tuple[str, ...] = ()
    """Directions of the axes in the files of the training scans."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """How it was fitted, for the report."""
    reason: str | None = None
    """Why there are no checks."""

    def judge(self, measures: ScanMeasures | None, volume: Volume, embeddings: Sequence[NDArray]) -> Verdict:
        """A file's measures, its preprocessed volume (C, D, H, W) and its stage embeddings -> the verdict."""
        if not self.checks or measures is None:
            return Verdict(None, reason=self.reason or "the scan's file was not measured")
        features = guard_features(measures, volume, embeddings)
        ratios = {name: float(check.ratios(features[name][None])[0]) for name, check in self.checks.items()}
        found = [f"{TITLES[name]} {ratio:.3g} from training scans" for name, ratio in ratios.items() if ratio > 1]
        if measures.orientation not in self.orientations:
            found.append(f"axes {measures.orientation}, training scans have {' or '.join(self.orientations)}")
        distance = max(ratios.values())
        verdict = "refuse" if distance >= REFUSED_FROM else "warn" if found else "ok"
        return Verdict(verdict, distance, "; ".join(found) or None)

    def write(self, path: Path, *, checkpoint: str) -> None:
        """A safetensors file: arrays in float32, all else as JSON in its header; `checkpoint` is its SHA-256."""
        arrays = {
            f"{name}.{part}": np.ascontiguousarray(array, np.float32)
            for name, check in self.checks.items()
            for part, array in vars(check.density).items()
        }
        about = {
            "format": FORMAT,
            "checkpoint": checkpoint,
            "checks": {name: {"kind": check.kind, "limit": check.limit} for name, check in self.checks.items()},
            "orientations": self.orientations,
            "summary": dict(self.summary),
            "reason": self.reason,
        }
        with whole_file(path) as temporary:
            save_file(arrays, temporary, {"guard": json.dumps(about, allow_nan=False)})

    @classmethod
    def read(cls, path: Path, *, checkpoints: set[str]) -> Self:
        """Reject a file that is corrupt or was fitted for none of the `checkpoints`."""
        try:
            with safe_open(path, "numpy") as stored:
                about = json.loads(stored.metadata()["guard"])
                arrays = {name: stored.get_tensor(name).astype(np.float64) for name in stored.keys()}
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}, expected {FORMAT}")
            checks = {name: read_check(name, told, arrays) for name, told in about["checks"].items()}
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}: not a guard of this version ({error}); run 'python -m pipeline.predict'."
            ) from None
        if about["checkpoint"] not in checkpoints:
            raise ValueError(f"{path}: fitted for another checkpoint; run 'python -m pipeline.predict' again.")
        return cls(checks, tuple(about["orientations"]), about["summary"], about["reason"])


def read_check(name: str, told: Mapping[str, Any], arrays: Mapping[str, Features]) -> Check:
    own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
    return Check(told["kind"], DENSITIES[told["kind"]](**own), float(told["limit"]))


def load_guard(trained: Predictor) -> InputGuard:
    """The guard that the predict stage wrote for a training; one without checks if there is none."""
    folder = trained.path.parent
    path = RunPaths(folder.parent).guard(trained.config.training_key)
    if not path.is_file():
        return InputGuard(reason=f"{path.parent.name}/{path.name} is missing; the predict stage writes it")
    best = TrainingPaths(folder).best
    # Weights in eight bits are those of best.ckpt, rounded.
    others = {sha256(best)} if trained.path == TrainingPaths(folder).int8 and best.is_file() else set()
    return InputGuard.read(path, checkpoints={trained.sha256, *others})


def guard_features(measures: ScanMeasures, volume: Volume, embeddings: Sequence[NDArray]) -> dict[str, Features]:
    """The features (F,) of each check."""
    numbers = measures.numbers
    sizes = [numbers[f"{name}_{axis}"] for name in ("spacing", "extent") for axis in AXES]
    span = max(numbers.get("value_span", 0.0), SMALLEST_SPAN)
    return {
        "geometry": np.log(sizes),
        # A mask has no span; it is as far from an image as a value of another unit.
        "values": np.array([np.log(span), BINARY * numbers["is_binary"]]),
        "intensity": np.concatenate([summarize(volume), texture(volume)]),
        "embedding": np.asarray(embeddings[-1], np.float64),
    }


def texture(volume: Volume) -> Features:
    """Of each channel the mean step between neighbors along D, H and W, and the share of voxels at its minimum."""
    steps = [np.abs(np.diff(volume, axis=axis)).mean(axis=(1, 2, 3)) for axis in (1, 2, 3)]
    empty = (volume == volume.min(axis=(1, 2, 3), keepdims=True)).mean(axis=(1, 2, 3))
    return np.concatenate([*steps, empty]).astype(np.float64)
