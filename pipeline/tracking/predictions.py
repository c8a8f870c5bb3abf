"""The predictions of a training as others may see them: pseudonyms for ids, pictures only where pixels may leave."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.image import imread

from pipeline.core.columns import FOLD, LABEL, LABEL_SEPARATOR, NO_LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT
from pipeline.core.folds import FoldLabel
from pipeline.core.io import read_json
from pipeline.evaluation.ensembling import SCAN
from pipeline.evaluation.operating_point import EVEN_ODDS
from pipeline.store.store import Store
from pipeline.tracking.payload import Picture, middle_slice
from pipeline.tracking.privacy import pseudonym


def read_ids(path: Path) -> pd.DataFrame:
    """predictions.csv as it is, ids as text."""
    return pd.read_csv(path, dtype={SCAN_ID: str, PATIENT_ID: str, LABEL: str}, keep_default_na=False)


def read_thresholds(operating_point: Path, *, is_multilabel: bool) -> dict[str, float] | float | None:
    """From which probability a scan is called positive, as frozen on validation; with several labels each its own.

    None where the likeliest class is called.
    """
    point = read_json(operating_point)[SCAN] if operating_point.is_file() else None
    if not is_multilabel:
        return point and point["threshold"]
    return {label: own["threshold"] or EVEN_ODDS for label, own in (point or {}).items()}


def public_predictions(table: pd.DataFrame, key: bytes, thresholds: Mapping[str, float] | float | None) -> pd.DataFrame:
    """Stable pseudonyms for ids, and whether what is called at the frozen thresholds is the label."""
    probs = [column for column in table.columns if column.startswith(PROB_PREFIX)]
    names = {column: [pseudonym(name, key) for name in table[column]] for column in (SCAN_ID, PATIENT_ID)}
    classes = table[probs].rename(columns=lambda column: column.removeprefix(PROB_PREFIX))
    called = [called_set(row, thresholds) for row in classes.to_dict("records")]
    true = [set(label.split(LABEL_SEPARATOR)) - {NO_LABEL} for label in table[LABEL]]
    if not isinstance(thresholds, Mapping):
        true = [{label} for label in table[LABEL]]
    public = table.assign(**names, is_correct=[one == other for one, other in zip(called, true, strict=True)])
    return public[[SCAN_ID, PATIENT_ID, FOLD, SPLIT, LABEL, *probs, "is_correct"]]


def called_set(probs: dict[str, float], thresholds: Mapping[str, float] | float | None) -> set[str]:
    """Classes that are called; of two classes the last is the positive one."""
    if isinstance(thresholds, Mapping):
        return {name for name, prob in probs.items() if prob >= thresholds.get(name, EVEN_ODDS)}
    if thresholds is None:
        return {max(probs, key=probs.get)}
    negative, positive = probs
    return {positive if probs[positive] >= thresholds else negative}


def with_pictures(
    public: pd.DataFrame, scan_ids: list[str], store: Store, explanations: Path, fold: FoldLabel
) -> pd.DataFrame:
    """The table with each scan's middle slice (first channel) and, where this fold's network was explained on it, the
    evidence over it."""
    evidence = {
        caption["scan_id"]: explanations / caption["picture"]
        for caption in read_captions(explanations)
        if caption.get("fold") == fold
    }
    slices = [Picture(middle_slice(store.read(scan_id)[0][0])) for scan_id in scan_ids]
    overlays = [Picture(read_picture(evidence[scan_id])) if scan_id in evidence else None for scan_id in scan_ids]
    return public.assign(slice=slices, explanation=overlays)


def read_captions(explanations: Path) -> list[dict[str, str]]:
    captions = explanations / "captions.json"
    return read_json(captions) if captions.is_file() else []


def read_picture(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) in 0..255."""
    return (imread(path)[..., :3] * 255).round().astype(np.uint8)
