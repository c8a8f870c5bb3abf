"""The predictions of a training as others may see them: pseudonyms for ids, pictures only where pixels may leave."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.image import imread

from pipeline.artifacts import FOLD, LABEL, LABEL_SEPARATOR, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT
from pipeline.files import read_json
from pipeline.scans.store import Store
from pipeline.tracking.contents import Picture
from pipeline.tracking.panels import middle_slice
from pipeline.tracking.privacy import pseudonym


def read_ids(path: Path) -> pd.DataFrame:
    """predictions.csv as it is, ids as text."""
    return pd.read_csv(path, dtype={SCAN_ID: str, PATIENT_ID: str, LABEL: str}, keep_default_na=False)


def public_predictions(table: pd.DataFrame, project: str, *, is_multilabel: bool = False) -> pd.DataFrame:
    """Stable pseudonyms for ids, and whether what the network calls is the label."""
    probs = [column for column in table.columns if column.startswith(PROB_PREFIX)]
    names = {column: [pseudonym(name, project) for name in table[column]] for column in (SCAN_ID, PATIENT_ID)}
    called = [called_set(row, is_multilabel) for row in table[probs].to_dict("records")]
    labels = [set(label.split(LABEL_SEPARATOR)) - {""} if is_multilabel else {label} for label in table[LABEL]]
    public = table.assign(**names, is_correct=[one == other for one, other in zip(called, labels, strict=True)])
    return public[[SCAN_ID, PATIENT_ID, FOLD, SPLIT, LABEL, *probs, "is_correct"]]


def called_set(probs: dict[str, float], is_multilabel: bool) -> set[str]:
    """The likeliest class, or where several may be right each that is more likely than not."""
    called = [name for name, prob in probs.items() if prob > 0.5] if is_multilabel else [max(probs, key=probs.get)]
    return {name.removeprefix(PROB_PREFIX) for name in called}


def with_pictures(public: pd.DataFrame, scan_ids: list[str], store: Store, explanations: Path) -> pd.DataFrame:
    """The table with each scan's middle slice and, of explained scans, the evidence laid over it."""
    evidence = {caption["scan_id"]: explanations / caption["picture"] for caption in read_captions(explanations)}
    slices = [Picture(middle_slice(store.read(scan_id)[0])) for scan_id in scan_ids]
    overlays = [Picture(read_picture(evidence[scan_id])) if scan_id in evidence else None for scan_id in scan_ids]
    return public.assign(slice=slices, explanation=overlays)


def read_captions(explanations: Path) -> list[dict[str, str]]:
    captions = explanations / "captions.json"
    return read_json(captions) if captions.is_file() else []


def read_picture(path: Path) -> np.ndarray:
    """Pixels (H, W, 3) in 0..255."""
    return (imread(path)[..., :3] * 255).round().astype(np.uint8)
