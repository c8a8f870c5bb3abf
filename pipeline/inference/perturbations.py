"""Predictions of some held-out scans unchanged, under harmless perturbations, and with the body masked out."""

import zlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor

from pipeline.core.columns import CHANGE, LABEL, MASKED, PATIENT_ID, PROB_PREFIX, SCAN_ID, TEST, UNCHANGED, VAL
from pipeline.core.folds import read_splits, rows_of_fold
from pipeline.core.paths import CohortPaths
from pipeline.core.progress import show_progress
from pipeline.data.augmentation.intensity import bias_field, lower_resolution, noise
from pipeline.data.augmentation.pipeline import apply_same, left_right_axis, rotation_axes
from pipeline.data.augmentation.spatial import flip, rotate
from pipeline.data.dataset import stored_images
from pipeline.imaging.foreground import empty_space_threshold, is_body
from pipeline.inference.predictor import Predictor, Volume
from pipeline.store.store import Store

BODY_FRACTION = 0.05
"""A voxel that is body in more than this fraction of the scans is masked in all, so that no outline remains visible."""
BODY_MARGIN_VOXELS = 1
MIN_BACKGROUND_FRACTION = 0.01
"""Fraction of the voxels that must remain unmasked."""
MAX_SCANS = 40
"""Scans, one per patient: enough for intervals, and under a minute for most networks."""

Perturbation = Callable[[Tensor, np.random.Generator], Tensor]
"""(channel (D, H, W), generator) -> the perturbed channel."""


def predict_perturbed(trained: Predictor, cohort: CohortPaths, fold: int) -> pd.DataFrame:
    """`scan_id, patient_id, label, change, prob_<class>…`, one row per scan and perturbation."""
    chosen = select_scans(rows_of_fold(read_splits(cohort.splits), fold))
    volumes = list(stored_images(Store(cohort.preprocessed), chosen[SCAN_ID]))
    body, perturbations = common_body(volumes), harmless_perturbations(trained)
    pairs = list(zip(chosen.to_dict("records"), volumes, strict=True))
    predicted = [
        {key: row[key] for key in (SCAN_ID, PATIENT_ID, LABEL)} | {CHANGE: name} | predict_columns(trained, perturbed)
        for row, volume in show_progress(pairs, len(pairs), "audit")
        for name, perturbed in perturbed_volumes(volume, row[SCAN_ID], perturbations, body)
    ]
    return pd.DataFrame(predicted)


def select_scans(rows: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One scan per patient of the test set, or of validation without one, alternating between classes."""
    held_out = rows[TEST] if len(rows[TEST]) else rows[VAL]
    first = held_out.sort_values(SCAN_ID).drop_duplicates(PATIENT_ID)
    turn = first.groupby(LABEL).cumcount()
    return first.assign(turn=turn).sort_values(["turn", SCAN_ID]).head(MAX_SCANS)


def predict_columns(trained: Predictor, volume: Volume) -> dict[str, float]:
    probs = trained.predict(volume).probs
    return {f"{PROB_PREFIX}{name}": float(prob) for name, prob in zip(trained.classes, probs, strict=True)}


def harmless_perturbations(trained: Predictor) -> dict[str, Perturbation]:
    """Augmentations at full strength that do not change the diagnosis in this cohort."""
    cohort, plan = trained.config.cohort, trained.plan
    rotated = partial(rotate, axes=rotation_axes(plan.spacing_mm), spacing_mm=plan.spacing_mm)
    # The names also seed the random generator.
    perturbations: dict[str, Perturbation] = {"turned and shifted": rotated, "resampled": lower_resolution}
    if cohort.laterality == "irrelevant":
        perturbations["mirrored"] = partial(flip, axis=left_right_axis(plan.orientation))
    if cohort.modality != "mask":
        perturbations["noisier"] = noise
    if cohort.modality == "MR":
        perturbations["bias field"] = bias_field
    return perturbations


def perturbed_volumes(
    volume: Volume, scan_id: str, perturbations: dict[str, Perturbation], body: NDArray[np.bool_] | None
) -> Iterator[tuple[str, Volume]]:
    """The volume (C, D, H, W) unchanged, masked and perturbed, all channels alike; a function of (scan, name)."""
    yield UNCHANGED, volume
    if body is not None:
        yield MASKED, mask_out(volume, body)
    for name, perturb in perturbations.items():
        generator = np.random.default_rng(zlib.crc32(f"{scan_id} {name}".encode()))
        yield name, torch.stack(apply_same(list(torch.from_numpy(volume)), perturb, generator)).numpy()


def common_body(volumes: list[Volume]) -> NDArray[np.bool_] | None:
    """One mask (D, H, W) of the body in any of the scans; None if it leaves too little background.

    A channel without empty space is body everywhere.
    """
    count = np.zeros(volumes[0].shape[1:])
    for volume in volumes:
        count += np.any([is_body(channel, empty_space_threshold(channel)) for channel in volume], axis=0)
    body = binary_dilation(count > BODY_FRACTION * len(volumes), iterations=BODY_MARGIN_VOXELS)
    return body if (~body).mean() >= MIN_BACKGROUND_FRACTION else None


def mask_out(volume: Volume, body: NDArray[np.bool_]) -> Volume:
    """The volume with the body replaced by the median of the background, in each channel."""
    background = np.median(volume[:, ~body], axis=1)
    return np.where(body, background[:, None, None, None], volume).astype(np.float32)
