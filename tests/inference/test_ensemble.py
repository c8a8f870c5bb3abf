"""An ensemble of the folds of a run: calibrated, averaged, with the threshold that was chosen on validation."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.io import sha256
from pipeline.inference.ensemble import Ensemble
from pipeline.inference.predictor import Predictor
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.conftest import Commands

pytestmark = pytest.mark.slow
RUN = Path("runs/cubes/tiny")
SCALE = {"fold-0-seed-0": 0.5, "fold-1-seed-0": 2.0}


@pytest.fixture
def two_folds(finished: Path, tmp_path: Path) -> Path:
    """A project whose run has a second fold, with other weights, and a temperature for each fold."""
    folder = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    run = folder / RUN
    trained = TrainedCheckpoint.read(run / "fold-0-seed-0" / "best.ckpt")
    other = {name: value + 0.3 if name == "fc.bias" else value * 0.9 for name, value in trained.state_dict.items()}
    replace(trained, state_dict=other, config=trained.config | {"fold": 1}).write(run / "fold-1-seed-0" / "best.ckpt")
    freeze(run, method="temperature", threshold=0.55)
    return folder


def freeze(run: Path, *, method: str, threshold: float | None) -> None:
    """Write what the evaluate stage writes for two folds."""
    fitted = {
        name: {"method": method, "parameters": {"scale": [scale], "shift": [0.0]}, "num_patients": 50, "reason": "few"}
        for name, scale in SCALE.items()
    }
    point = {"rule": "youden", "threshold": threshold, "reason": "approximate"}
    conformal = json.loads((run / "evaluation/frozen/conformal.json").read_text())
    levels = ("scan", "patient")
    frozen = run / "evaluation" / "frozen"
    (frozen / "checkpoints.json").write_text(json.dumps({name: sha256(run / name / "best.ckpt") for name in SCALE}))
    (frozen / "calibration.json").write_text(json.dumps({level: fitted for level in levels}))
    (frozen / "operating_point.json").write_text(json.dumps({level: point for level in levels}))
    (frozen / "conformal.json").write_text(json.dumps({level: conformal[level] for level in levels}))


def of_folds(folder: Path, scan: Path) -> dict[str, float]:
    """Each fold's own probability of a cube."""
    runs = {name: Predictor.load(folder / RUN / name / "best.ckpt") for name in SCALE}
    return {name: float(run.predict(run.prepare(scan).array).probs[1]) for name, run in runs.items()}


def test_an_ensemble_predicts_the_mean_calibrated_probability_and_a_class(two_folds: Path) -> None:
    scan = two_folds / "cubes" / "scans" / "p001_0.nii.gz"
    done = Commands(two_folds)("predict", "scans", str(scan), "--run", str(RUN), "--out", "new.csv")
    assert "mean of 2 trainings" in done.stderr and "0.550" in done.stderr and "approximate" in done.stderr
    row = pd.read_csv(two_folds / "new.csv").iloc[0]
    own = of_folds(two_folds, scan)
    assert abs(own["fold-0-seed-0"] - own["fold-1-seed-0"]) > 0.01
    odds = {name: (own[name] / (1 - own[name])) ** SCALE[name] for name in own}
    expected = np.mean([value / (1 + value) for value in odds.values()])
    assert row["prob_cube"] == pytest.approx(expected, abs=1e-6)
    assert row["predicted"] == ("cube" if expected >= 0.55 else "plain")


def test_if_a_fold_could_not_be_calibrated_all_are_averaged_uncalibrated(
    two_folds: Path, caplog: pytest.LogCaptureFixture
) -> None:
    freeze(two_folds / RUN, method="none", threshold=None)
    caplog.set_level("INFO")
    together = Ensemble.load(two_folds / RUN)
    assert "as predicted (few)" in caplog.text
    scan = two_folds / "cubes" / "scans" / "p001_0.nii.gz"
    probs = together.predict(together.prepare(scan).array).probs
    assert probs[1] == pytest.approx(np.mean(list(of_folds(two_folds, scan).values())), abs=1e-6)


def test_a_fold_that_was_never_evaluated_is_rejected(two_folds: Path) -> None:
    trained = TrainedCheckpoint.read(two_folds / RUN / "fold-1-seed-0" / "best.ckpt")
    third = replace(trained, config=trained.config | {"fold": 1, "seed": 4})
    third.write(two_folds / RUN / "fold-1-seed-4" / "best.ckpt")
    with pytest.raises(ValueError, match="no calibration of fold-1-seed-4.*pipeline.evaluate"):
        Ensemble.load(two_folds / RUN)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda run: {"plan": {**run.plan, "spacing_mm": [3, 3, 3]}},
            "fold-1-seed-0/best.ckpt: its plan differs from that of the",
        ),
        (
            lambda run: {"classes": run.classes[::-1]},
            "fold-1-seed-0/best.ckpt: its order of classes differs from that of the",
        ),
    ],
)
def test_inconsistent_folds_are_rejected_and_the_different_one_is_named(two_folds: Path, change, says: str) -> None:
    run = two_folds / RUN
    usual = TrainedCheckpoint.read(run / "fold-0-seed-0" / "best.ckpt")
    replace(usual, config=usual.config | {"fold": 2}).write(run / "fold-2-seed-0" / "best.ckpt")
    odd = TrainedCheckpoint.read(run / "fold-1-seed-0" / "best.ckpt")
    replace(odd, **change(odd)).write(run / "fold-1-seed-0" / "best.ckpt")
    with pytest.raises(ValueError, match=says):
        Ensemble.load(run)


def test_a_copied_checkpoint_is_not_taken_for_another_fold(two_folds: Path) -> None:
    shutil.copytree(two_folds / RUN / "fold-1-seed-0", two_folds / RUN / "fold-2-seed-0")
    with pytest.raises(ValueError, match="fold-2-seed-0/best.ckpt: .*fold 1, seed 0.*one of each training"):
        Ensemble.load(two_folds / RUN)


def test_a_fold_trained_again_after_evaluation_is_rejected(two_folds: Path) -> None:
    trained = TrainedCheckpoint.read(two_folds / RUN / "fold-1-seed-0" / "best.ckpt")
    replace(trained, epoch=trained.epoch + 1).write(two_folds / RUN / "fold-1-seed-0" / "best.ckpt")
    scan = str(two_folds / "cubes" / "scans" / "p001_0.nii.gz")
    done = Commands(two_folds)("predict", "scans", scan, "--run", str(RUN), check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "fold-1-seed-0/best.ckpt: not the evaluated checkpoint of" in done.stderr
    assert "pipeline.evaluate" in done.stderr


def test_evaluation_records_which_checkpoint_it_evaluated(finished: Path) -> None:
    noted = json.loads((finished / RUN / "evaluation/frozen/checkpoints.json").read_text())
    assert noted == {"fold-0-seed-0": sha256(finished / RUN / "fold-0-seed-0" / "best.ckpt")}
