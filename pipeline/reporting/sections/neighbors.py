"""The section of nearest neighbors: the training scans that each test scan resembles most, as the classifier sees them.

Axes: N training scans, M test scans, F features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, SCAN_ID, SEED, SPLIT, TEST, TRAIN
from pipeline.core.folds import fold_columns, rows_of_fold
from pipeline.evaluation.predictions import class_names, prob_columns
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS, Table

NUM_NEIGHBORS = 3
MAX_ROWS = 200
ROUNDING = 1e-6
"""A deviation up to this share of a feature's largest value is rounding."""
Array = NDArray[Any]
TEMPLATE = """
<p>The training scans that each test scan is nearest to in what the classifier of fold {{ content.fold }} reads. A
distance is the root mean square over features, in standard deviations of the training scans.
{% if content.usual is not none %}
{{ "%.2f" | format(content.usual) }} is the median from a training scan to the nearest of another patient. A test scan
farther from all is unlike what the model has seen.
{% endif %}
Neighbors show what the model takes to be alike, not why.</p>
{{ plain_table(content.table) }}
"""


@dataclass(frozen=True)
class Neighbors:
    fold: int
    usual: float | None
    """Median distance of a training scan to the nearest one of another patient; None if there is only one patient."""
    table: Table


@SECTIONS.register(
    "neighbors",
    title="Nearest training scans",
    template=TEMPLATE,
    missing="features of every scan; 'python -m pipeline.embed --run FOLDER' with the first training's writes them.",
)
def read_neighbors(inputs: ReportInputs) -> Neighbors | None:
    """None without features, predictions or test scans."""
    features, predictions, cohort = inputs.run.features, inputs.run.predictions, inputs.cohort.table
    if features is None or predictions is None or cohort is None:
        return None
    key = inputs.config.training_keys[0]
    parts = rows_of_fold(features, key.fold)
    if parts[TEST].empty or len(parts[TRAIN]) < NUM_NEIGHBORS:
        return None
    own = predictions[(predictions[FOLD] == key.fold) & (predictions[SEED] == key.seed) & (predictions[SPLIT] == TEST)]
    table, usual = neighbor_table(parts[TRAIN], parts[TEST], own.set_index(SCAN_ID), cohort.set_index(SCAN_ID)[LABEL])
    return Neighbors(key.fold, usual, table)


def neighbor_table(
    train: pd.DataFrame, test: pd.DataFrame, predicted: pd.DataFrame, labels: pd.Series
) -> tuple[Table, float | None]:
    """A row a test scan, the farthest from any training scan first, and the usual distance within training."""
    columns = train.columns.drop([SCAN_ID, PATIENT_ID, SPLIT, *fold_columns(train)])
    known, asked = standardize(train[columns].to_numpy(float), test[columns].to_numpy(float))
    distances, nearest = find_nearest(known, asked)
    names, order = train[SCAN_ID].tolist(), np.argsort(-distances[:, 0], kind="stable")[:MAX_ROWS]
    rows = []
    for row in order:
        scan_id = test[SCAN_ID].iloc[row]
        found = [(names[near], distance) for near, distance in zip(nearest[row], distances[row], strict=True)]
        cells = [f"{name} ({labels.get(name, '')}, {distance:.2f})" for name, distance in found]
        rows.append([scan_id, labels.get(scan_id, ""), format_prediction(predicted, scan_id), *cells])
    which = f"The {MAX_ROWS} test scans of {len(test)} that are" if len(test) > MAX_ROWS else "Test scans, those"
    caption = f"{which} farthest from any training scan first. In brackets: label and distance of the neighbor."
    header = ["Test scan", "Label", "Predicted", *(f"Neighbor {rank}" for rank in range(1, NUM_NEIGHBORS + 1))]
    return Table(caption, header, rows), usual_distance(known, train[PATIENT_ID].to_numpy(str))


def standardize(train: Array, test: Array) -> tuple[Array, Array]:
    """(N, F) and (M, F) so scaled that a Euclidean distance is the root mean square over features.

    The units are standard deviations of `train`; a feature that is constant there counts nothing.
    """
    mean, scale = train.mean(0), train.std(0)
    varies = scale > ROUNDING * np.abs(train).max(0)
    units = scale[varies] * np.sqrt(max(1, varies.sum()))
    return (train[:, varies] - mean[varies]) / units, (test[:, varies] - mean[varies]) / units


def find_nearest(train: Array, test: Array) -> tuple[Array, Array]:
    """Of (N, F) and (M, F): rising distances (M, k), and the rows of `train` (M, k) that they lead to."""
    distances = cdist(test, train)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NUM_NEIGHBORS]
    return np.take_along_axis(distances, nearest, axis=1), nearest


def usual_distance(train: Array, patients: Array) -> float | None:
    """Median distance of the rows (N, F) to the nearest of another patient; None if there is only one patient."""
    distances = cdist(train, train)
    distances[patients[:, None] == patients] = np.inf
    nearest = distances.min(1)
    return float(np.median(nearest)) if np.isfinite(nearest).all() else None


def format_prediction(predicted: pd.DataFrame, scan_id: str) -> str:
    """The most probable class with its probability; empty for a scan that was not predicted."""
    if scan_id not in predicted.index:
        return ""
    probs = predicted.loc[scan_id, prob_columns(predicted)].to_numpy(float)
    return f"{class_names(predicted)[probs.argmax()]} ({probs.max():.2f})"
