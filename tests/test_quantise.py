"""`python -m pipeline.quantise` on a trained run: a smaller file that predicts, and what it costs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Commands

pytestmark = pytest.mark.slow
FOLD = Path("runs/cubes/tiny/fold-0-seed-0")


def test_eight_bits_predict_from_a_smaller_file_and_the_cost_is_told(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    said = Commands(copy)("quantise").stderr
    cost = json.loads((copy / FOLD / "quantised.json").read_text())
    assert "speed" in said and "a comparison needs 10" in cost["auroc_difference"]["reason"]
    assert cost["bytes"]["int8"] < 0.3 * cost["bytes"]["float32"]
    assert 0 < cost["mean_change_of_probability"] <= cost["largest_change_of_probability"] < 0.1
    metrics = json.loads((copy / "runs/cubes/tiny/evaluation/metrics.json").read_text())["val"]["scan"]
    assert cost["figures"]["auroc"]["float32"] == pytest.approx(metrics["auroc"]["value"])
    Commands(copy)("predict", "--run", str(FOLD / "best.int8.ckpt"), "--scans", "cubes/scans", "--out", "new.csv")
    new = pd.read_csv(copy / "new.csv").assign(scan_id=lambda table: table["path"].map(lambda p: Path(p).name[:6]))
    known = pd.read_csv(copy / "runs/cubes/tiny/predictions/fold-0-seed-0.csv").set_index("scan_id")
    change = np.abs(new.set_index("scan_id").loc[known.index, "prob_cube"] - known["prob_cube"])
    assert 0 < change.max() < 0.1


def test_a_training_that_knew_of_the_rounding_loses_nothing_by_it(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    Commands(copy)("train", "training.quantization_aware=true", "training.max_epochs=1", "tracking.mode=none")
    Commands(copy)("quantise")
    cost = json.loads((copy / FOLD / "quantised.json").read_text())
    assert cost["largest_change_of_probability"] == 0 == cost["calls_changed"]
    assert cost["figures"]["brier_score"]["int8"] == cost["figures"]["brier_score"]["float32"]
    assert cost["bytes"]["int8"] < 0.3 * cost["bytes"]["float32"]
