"""The input guard of a small run: what it holds back, what it lets through, and what the other commands make of it."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from pipeline import load_run
from pipeline.inference.input_guard import Check, InputGuard, Mahalanobis, Neighbors, load_guard
from pipeline.inference.predictor import Predictor
from tests.conftest import Commands, cube_scan, write_project

RUN = Path("runs/cubes/guarded")
EXPERIMENT = """
model:
  name: stack
  freeze: true
  options:
    members:
      near: {name: random_conv3d, options: {num_kernels: 16, stride: 1}}
      far: {name: random_conv3d, options: {num_kernels: 16, kernel_seed: 1}}
augmentation: {}
training: {}
evaluation: {num_bootstrap: 200}
explanation: {method: occlusion}
tracking: {}
"""


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a stack, whose fold has enough scans for a guard; read it or copy it, do not change it."""
    folder = tmp_path_factory.mktemp("guarded")
    write_project(folder, num_patients=60)
    (folder / "configs" / "guarded.yaml").write_text(EXPERIMENT)
    (folder / "params.yaml").write_text("cohort: cubes\nexperiments: [guarded]\nfolds: [0]\nseeds: [0]\n")
    for verb in ("fetch", "ingest", "split", "plan", "preprocess", "train", "predict"):
        Commands(folder)(verb)
    return folder


def test_distances_are_those_of_their_definitions() -> None:
    generator = np.random.default_rng(0)
    references, scans = generator.normal(size=(40, 3)), generator.normal(size=(6, 3))
    scale, root = np.array([2.0, 1.0, 0.5]), generator.normal(size=(3, 3))
    scaled = np.linalg.norm(scans[:, None] / scale - references, axis=2)
    nearest = np.sort(scaled, axis=1)[:, :5].mean(1)
    np.testing.assert_allclose(Neighbors(scale, references).distances(scans), nearest)
    variances, directions = np.linalg.eigh(root @ root.T)
    mahalanobis = Mahalanobis(scale, np.ones(3), directions.T[1:], np.append(variances[1:], variances[0]))
    centered = scans / scale - 1
    expected = np.sqrt(np.einsum("nf,fg,ng->n", centered, np.linalg.inv(root @ root.T), centered))
    np.testing.assert_allclose(mahalanobis.distances(scans), expected)


def test_a_guard_is_read_as_it_was_written_and_only_for_its_checkpoint(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    density = Neighbors(np.ones(4), generator.normal(size=(9, 4)))
    guard = InputGuard({"geometry": Check("neighbors", density, 1.5)}, ("RAS",), {"num_val": 20})
    path = tmp_path / "guard.safetensors"
    guard.write(path, checkpoint="abc")
    again = InputGuard.read(path, checkpoints={"other", "abc"})
    scans = generator.normal(size=(5, 4))
    np.testing.assert_allclose(
        again.checks["geometry"].ratios(scans), guard.checks["geometry"].ratios(scans), rtol=1e-6
    )
    assert (again.orientations, again.summary, again.reason) == (("RAS",), {"num_val": 20}, None)
    with pytest.raises(ValueError, match="fitted for another checkpoint"):
        InputGuard.read(path, checkpoints={"other"})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="guard.safetensors: not a guard of this version"):
        InputGuard.read(path, checkpoints={"abc"})


@pytest.mark.slow
def test_a_guard_holds_back_what_is_no_scan_of_the_cohort_and_few_that_are(guarded: Path, tmp_path: Path) -> None:
    run, generator = load_run(guarded / RUN / "fold-0-seed-0"), np.random.default_rng(7)
    new = [cube_scan(generator, has_cube=number % 2 == 1, variant=number) for number in range(20)]
    verdicts = [run.predict_array(np.asarray(scan.dataobj), scan.affine).guard for scan in new]
    assert sum(found.verdict != "ok" for found in verdicts) <= 3
    assert all(found.reason is None for found in verdicts if found.verdict == "ok")
    voxels, affine = np.asarray(new[0].dataobj, np.float32), new[0].affine
    for changed, says in (
        (generator.normal(voxels.mean(), voxels.std(), voxels.shape).astype(np.float32), "features of the last stage"),
        (np.zeros_like(voxels), "range of values"),
        (voxels * 1000, "range of values"),
        (voxels[8:16, 8:16, 8:16], "field of view"),
        ((voxels > 100).astype(np.uint8), "range of values"),
    ):
        found = run.predict_array(changed, affine).guard
        assert found.verdict == "refuse" and found.distance >= 2 and says in found.reason


@pytest.mark.slow
def test_the_predict_stage_says_how_the_guard_was_fitted_and_that_raw_scans_agree(guarded: Path) -> None:
    written = json.loads((guarded / RUN / "predictions" / "fold-0-seed-0.json").read_text())
    guard, parity = written["input_guard"], written["parity"]
    assert guard["reason"] is None and guard["num_train"] >= 30 and guard["num_val"] >= 19
    assert guard["num_val_warned"] <= 0.05 * guard["num_val"] + 1
    assert guard["detected_corruptions"][guard["embedding"]] == max(guard["detected_corruptions"].values()) > 0.5
    assert sum(parity[part] for part in ("train", "val", "test")) >= 5 and parity["val"] >= 3
    assert 0 <= parity["largest_difference"] <= 1e-6
    assert (guarded / RUN / "guards" / "fold-0-seed-0.safetensors").stat().st_size < 1e6


@pytest.mark.slow
def test_a_small_cohort_has_no_guard_and_says_why(finished: Path) -> None:
    guard = load_guard(Predictor.load(finished / "runs/cubes/tiny/fold-0-seed-0/best.ckpt"))
    assert "an input guard needs 30 and 19" in guard.reason and not guard.checks
    assert guard.judge(None, np.zeros((1, 2, 2, 2)), ()).verdict is None


@pytest.mark.slow
def test_the_command_writes_the_verdict_of_the_guard_and_drops_what_it_refuses(guarded: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    good = next((guarded / "cubes" / "scans").glob("p003_*.nii.gz"))
    shutil.copy(good, folder / "good.nii.gz")
    image = nibabel.load(good)
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(image.dataobj, np.float32) * 1000, image.affine), folder / "loud.nii.gz"
    )
    words = ["predict", "scans", str(folder), "--run", str(RUN / "fold-0-seed-0"), "--on-refused", "drop"]
    done = Commands(guarded)(*words, "--out", str(tmp_path / "new.csv"))
    table = pd.read_csv(tmp_path / "new.csv", keep_default_na=False)
    assert table["guard"][1] == "refuse" and float(table["guard_distance"][1]) > 2
    assert table["prob_cube"][1] == "" and table["prob_cube"][0] != ""
    assert "guard: " in done.stderr and "loud.nii.gz: refuse, range of values" in done.stderr


@pytest.mark.slow
def test_voxels_that_preprocessing_no_longer_gives_fail_the_stage_with_scan_and_step(
    guarded: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(guarded, tmp_path / "project", symlinks=True))
    raw = copy / "data" / "cubes" / "raw"
    raw.unlink()
    raw.symlink_to(copy / "cubes")
    splits = pd.read_csv(copy / "data/cubes/splits.csv", dtype=str)
    scan_id = splits.loc[(splits["fold"] == "0") & (splits["split"] == "development"), "scan_id"].iloc[0]
    path = copy / "cubes" / "scans" / f"{scan_id}.nii.gz"
    image = nibabel.load(path)
    shift_mm = np.zeros((4, 4))
    shift_mm[2, 3] = 5
    for change, step in (
        (nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), "preprocessing gives other voxels"),
        (
            nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine + shift_mm),
            "resampling gives another",
        ),
    ):
        nibabel.save(change, path)
        done = Commands(copy)("predict", check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert f"scan '{scan_id}': {step}" in done.stderr
