"""`python -m pipeline.quantize` on a trained run: a smaller file that predicts, and what it costs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Commands

pytestmark = pytest.mark.slow
FOLD = Path("runs/cubes/tiny/fold-0-seed-0")


def test_int8_weights_predict_from_a_smaller_file_and_the_cost_is_reported(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    log = Commands(copy)("quantize").stderr
    cost = json.loads((copy / FOLD / "quantized.json").read_text())
    assert "speed" in log and "a comparison needs 10" in cost["auroc_difference"]["reason"]
    assert cost["bytes"]["int8"] < 0.3 * cost["bytes"]["float32"]
    assert 0 < cost["mean_probability_change"] <= cost["max_probability_change"] < 0.1
    metrics = json.loads((copy / "runs/cubes/tiny/evaluation/metrics.json").read_text())["val"]["scan"]
    assert cost["metrics"]["auroc"]["float32"] == pytest.approx(metrics["auroc"]["value"])
    Commands(copy)("predict", "scans", "cubes/scans", "--run", str(FOLD / "best.int8.ckpt"), "--out", "new.csv")
    new = pd.read_csv(copy / "new.csv").assign(scan_id=lambda table: table["path"].map(lambda p: Path(p).name[:6]))
    known = pd.read_csv(copy / "runs/cubes/tiny/predictions/fold-0-seed-0.csv").set_index("scan_id")
    change = np.abs(new.set_index("scan_id").loc[known.index, "prob_cube"] - known["prob_cube"])
    assert 0 < change.max() < 0.1


def test_quantization_aware_training_makes_int8_weights_lossless(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    Commands(copy)("train", "training.quantization_aware=true", "training.max_epochs=1", "tracking.mode=none")
    Commands(copy)("quantize")
    cost = json.loads((copy / FOLD / "quantized.json").read_text())
    assert cost["max_probability_change"] == 0 == cost["changed_predictions"]
    assert cost["metrics"]["brier_score"]["int8"] == cost["metrics"]["brier_score"]["float32"]
    assert cost["bytes"]["int8"] < 0.3 * cost["bytes"]["float32"]
