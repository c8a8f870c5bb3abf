"""Explanation maps as files: NIfTI on the scan's own grid, a picture, and what the picture shows."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import LABEL, PROB_PREFIX, SCAN_ID, SPLIT, TEST, VAL
from pipeline.core.io import whole_folder, write_json
from pipeline.core.paths import CohortPaths
from pipeline.core.progress import show_progress
from pipeline.core.tables import parse_values, read_table
from pipeline.explanation.overlay import draw_overlay
from pipeline.explanation.saliency import METHODS
from pipeline.imaging.io.discover import ScanFiles, scan_files
from pipeline.imaging.preprocessing import map_on_scan
from pipeline.inference.predictor import Predictor
from pipeline.store.store import Store

log = logging.getLogger(__name__)


def explain_scans(
    trained: Predictor, *, predictions: Path, cohort: CohortPaths, out: Path, method: str, num_scans: int
) -> None:
    """Explain `num_scans` scans of predictions.csv; `out` is replaced as a whole once all are drawn."""
    rows = read_cohort(cohort.cohort).set_index(SCAN_ID)
    chosen = choose(parse_values(read_table(predictions)), trained.classes, num_scans)
    with whole_folder(out) as folder:
        captions = [
            explain_scan(trained, row, scan_files(rows.loc[row[SCAN_ID]], cohort.raw), folder, method)
            for row in show_progress(chosen.to_dict("records"), len(chosen), "explain")
        ]
        write_json(folder / "captions.json", captions)
    log.info("%s: %d scans", out, len(captions))


def choose(table: pd.DataFrame, classes: list[str], num_scans: int) -> pd.DataFrame:
    """The most confident right and wrong predictions in turn, of the test set, or of validation where there is none."""
    table = table[table[SPLIT] == (TEST if (table[SPLIT] == TEST).any() else VAL)]
    probs = table[[f"{PROB_PREFIX}{name}" for name in classes]].to_numpy()
    table = table.assign(predicted=np.array(classes)[probs.argmax(1)], confidence=probs.max(1))
    table["is_right"] = table["predicted"] == table[LABEL]
    table = table.sort_values(["confidence", SCAN_ID], ascending=[False, True])
    table["turn"] = table.groupby("is_right").cumcount()
    return table.sort_values(["turn", "is_right"], ascending=[True, False]).head(num_scans)


def explain_scan(
    trained: Predictor, row: dict[str, object], raw: ScanFiles, folder: Path, method: str
) -> dict[str, object]:
    """Write one map and its picture; return what the picture shows."""
    prepared = trained.prepare(raw)
    explained = explained_class(trained.classes, str(row["predicted"]))
    evidence = attribute(trained, prepared.array, trained.classes.index(explained), method)
    name = Store(folder).path(str(row[SCAN_ID])).stem
    nibabel.save(map_on_scan(evidence, prepared, trained.transforms), folder / f"{name}.nii.gz")
    plan = trained.plan
    picture = folder / f"{name}.png"
    draw_overlay(prepared.array[0], evidence, spacing_mm=plan.spacing_mm, orientation=plan.orientation, path=picture)
    return {
        "picture": picture.name,
        "map": f"{name}.nii.gz",
        "scan_id": row[SCAN_ID],
        "fold": trained.config.fold,
        "seed": trained.config.seed,
        "label": row[LABEL],
        "predicted": row["predicted"],
        "explained": explained,
        "probability": row["confidence"],
        "method": method,
    }


def explained_class(classes: list[str], predicted: str) -> str:
    """Of two classes the positive one: what speaks for its absence lies nowhere."""
    return classes[-1] if len(classes) == 2 else predicted


def attribute(trained: Predictor, array: NDArray[np.float32], class_index: int, method: str) -> NDArray[np.float32]:
    """The evidence for a class at each voxel of a prepared volume (C, D, H, W), in 0..1."""
    return METHODS.get(method).function(trained.network, trained.network_input(array), class_index).cpu().numpy()
