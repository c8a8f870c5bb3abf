"""The predictions of a training in public form: pseudonyms for ids, images only where they may be sent."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.image import imread

from pipeline.core.columns import FOLD, LABEL, LABEL_SEPARATOR, NO_LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT
from pipeline.core.io import read_json
from pipeline.core.paths import TrainingKey
from pipeline.core.tables import parse_values, read_table
from pipeline.evaluation.ensembling import SCAN
from pipeline.evaluation.operating_point import DEFAULT_THRESHOLD
from pipeline.store.store import Store
from pipeline.tracking.payload import CaptionedImage, middle_slice
from pipeline.tracking.privacy import pseudonym


def read_ids(path: Path) -> pd.DataFrame:
    """predictions.csv unchanged, ids as text."""
    return parse_values(read_table(path))


def read_thresholds(operating_point: Path, *, is_multilabel: bool) -> dict[str, float] | float | None:
    """The probability from which a scan is called positive, frozen on validation; with several labels one for each.

    None where the most probable class is called.
    """
    point = read_json(operating_point, SCAN)[SCAN] if operating_point.is_file() else None
    if not is_multilabel:
        return point and point["threshold"]
    return {label: own["threshold"] or DEFAULT_THRESHOLD for label, own in (point or {}).items()}


def public_predictions(table: pd.DataFrame, key: bytes, thresholds: Mapping[str, float] | float | None) -> pd.DataFrame:
    """Stable pseudonyms for ids, and whether the prediction at the frozen thresholds equals the label."""
    probs = [column for column in table.columns if column.startswith(PROB_PREFIX)]
    names = {column: [pseudonym(name, key) for name in table[column]] for column in (SCAN_ID, PATIENT_ID)}
    classes = table[probs].rename(columns=lambda column: column.removeprefix(PROB_PREFIX))
    predicted = [predicted_classes(row, thresholds) for row in classes.to_dict("records")]
    true = [set(label.split(LABEL_SEPARATOR)) - {NO_LABEL} for label in table[LABEL]]
    if not isinstance(thresholds, Mapping):
        true = [{label} for label in table[LABEL]]
    public = table.assign(**names, is_correct=[one == other for one, other in zip(predicted, true, strict=True)])
    return public[[SCAN_ID, PATIENT_ID, FOLD, SPLIT, LABEL, *probs, "is_correct"]]


def predicted_classes(probs: dict[str, float], thresholds: Mapping[str, float] | float | None) -> set[str]:
    """The predicted classes; of two classes the last is the positive one."""
    if isinstance(thresholds, Mapping):
        return {name for name, prob in probs.items() if prob >= thresholds.get(name, DEFAULT_THRESHOLD)}
    if thresholds is None:
        return {max(probs, key=probs.get)}
    negative, positive = probs
    return {positive if probs[positive] >= thresholds else negative}


def add_images(
    public: pd.DataFrame, scan_ids: list[str], store: Store, explanations: Path, training: TrainingKey
) -> pd.DataFrame:
    """The table with each scan's middle slice (first channel) and, for scans on which this training's network was
    explained, the attribution map over it."""
    overlay_files = {
        caption["scan_id"]: explanations / caption["picture"]
        for caption in read_captions(explanations)
        if (caption.get("fold"), caption.get("seed")) == (training.fold, training.seed)
    }
    slices = [CaptionedImage(middle_slice(store.read(scan_id)[0][0])) for scan_id in scan_ids]
    overlays = [
        CaptionedImage(read_image(overlay_files[scan_id])) if scan_id in overlay_files else None for scan_id in scan_ids
    ]
    return public.assign(slice=slices, explanation=overlays)


def read_captions(explanations: Path) -> list[dict[str, str]]:
    captions = explanations / "captions.json"
    return read_json(captions) if captions.is_file() else []


def read_image(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) in 0..255."""
    return (imread(path)[..., :3] * 255).round().astype(np.uint8)
