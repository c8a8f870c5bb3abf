"""Predictions of some held-out scans as they are, under harmless changes, and with the body masked out."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.ndimage import binary_dilation
from torch import Tensor

from pipeline.core.columns import CHANGE, LABEL, MASKED, PATIENT_ID, PROB_PREFIX, SCAN_ID, TEST, UNCHANGED, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.paths import CohortPaths
from pipeline.data.augmentation.intensity import lower_resolution, noise
from pipeline.data.augmentation.pipeline import alike, left_right_axis, rotation_axes
from pipeline.data.augmentation.spatial import flip, turn
from pipeline.imaging.foreground import empty_space_threshold, is_body
from pipeline.inference.predictor import Predictor, Volume
from pipeline.store.store import Store

BODY_SHARE = 0.05
"""A voxel that is body in more than this share of the scans is masked in all: no scan's outline is left to see."""
BODY_MARGIN_VOXELS = 1
SMALLEST_REST = 0.01
"""Share of the input that must be left over."""

MOST_SCANS = 40
"""Scans that are looked at, one a patient: enough for intervals, and under a minute for most networks."""

Change = Callable[[Tensor, np.random.Generator], Tensor]


def predict_perturbed(trained: Predictor, cohort: CohortPaths, fold: int) -> pd.DataFrame:
    """`scan_id, patient_id, label, change, prob_<class>…`, a row a scan and change."""
    chosen = choose(rows_of_fold(read_splits(cohort.splits), fold))
    store = Store(cohort.preprocessed)
    volumes = [store.read(scan_id)[0] for scan_id in chosen[SCAN_ID]]
    body, changes = find_bodies(volumes), changes_of(trained)
    pairs = list(zip(chosen.to_dict("records"), volumes, strict=True))
    found = [
        {key: row[key] for key in (SCAN_ID, PATIENT_ID, LABEL)} | {CHANGE: name} | stated(trained, changed)
        for row, volume in track(pairs, description="audit")
        for name, changed in versions(volume, row[SCAN_ID], changes, body)
    ]
    return pd.DataFrame(found)


def choose(rows: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One scan a patient of the test set, or of validation where there is none, classes in turn."""
    held_out = rows[TEST] if len(rows[TEST]) else rows[VAL]
    first = held_out.sort_values(SCAN_ID).drop_duplicates(PATIENT_ID)
    turn = first.groupby(LABEL).cumcount()
    return first.assign(turn=turn).sort_values(["turn", SCAN_ID]).head(MOST_SCANS)


def stated(trained: Predictor, volume: Volume) -> dict[str, float]:
    probs = trained.predict(volume).probs
    return {f"{PROB_PREFIX}{name}": float(prob) for name, prob in zip(trained.classes, probs, strict=True)}


def changes_of(trained: Predictor) -> dict[str, Change]:
    """The training's own kinds of changes that this cohort's diagnosis must survive, at their full strength."""
    cohort, plan = trained.config.cohort, trained.plan
    turned = partial(turn, axes=rotation_axes(plan.spacing_mm), spacing_mm=plan.spacing_mm)
    changes: dict[str, Change] = {"turned and shifted": turned, "resampled": lower_resolution}
    if cohort.laterality == "irrelevant":
        changes["mirrored"] = partial(flip, axis=left_right_axis(plan.orientation))
    if cohort.modality != "mask":
        changes["noisier"] = noise
    return changes


def versions(
    volume: Volume, scan_id: str, changes: dict[str, Change], body: NDArray[np.bool_] | None
) -> Iterator[tuple[str, Volume]]:
    """The volume (C, D, H, W) as it is and changed, all channels alike; a change is a function of (scan, change)."""
    yield UNCHANGED, volume
    if body is not None:
        yield MASKED, mask_out(volume, body)
    for name, change in changes.items():
        generator = np.random.default_rng(zlib.crc32(f"{scan_id} {name}".encode()))
        yield name, torch.stack(alike(list(torch.from_numpy(volume)), change, generator)).numpy()


def find_bodies(volumes: list[Volume]) -> NDArray[np.bool_] | None:
    """(D, H, W) where bodies are, one mask for all scans; None where they leave too little of the input over.

    A channel that shows no empty space is body everywhere.
    """
    share = np.zeros(volumes[0].shape[1:])
    for volume in volumes:
        share += np.any([is_body(channel, empty_space_threshold(channel)) for channel in volume], axis=0)
    body = binary_dilation(share > BODY_SHARE * len(volumes), iterations=BODY_MARGIN_VOXELS)
    return body if (~body).mean() >= SMALLEST_REST else None


def mask_out(volume: Volume, body: NDArray[np.bool_]) -> Volume:
    """The body replaced by the middle value of what surrounds it in each channel."""
    rest = np.median(volume[:, ~body], axis=1)
    return np.where(body, rest[:, None, None, None], volume).astype(np.float32)
