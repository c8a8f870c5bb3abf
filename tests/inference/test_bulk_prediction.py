"""Many scans: each has one row, whatever becomes of the others, of this process, or of an earlier attempt."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from monai.data import MetaTensor

from pipeline.config import Columns
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.io.monai_reader import MEASURES
from pipeline.imaging.io.read import read_scan
from pipeline.imaging.preprocessing import PreparedScan
from pipeline.inference.bulk_prediction import BulkOptions, predict_files
from pipeline.inference.input_guard import InputGuard, Verdict
from pipeline.inference.predictor import Prediction
from pipeline.inference.trained_run import TrainedRun
from tests.conftest import Commands
from tests.imaging.dicom_making import write_nifti_twin

RUN = Path("runs/cubes/tiny")


class Classifier:
    """The probability of a cube is the file's mean; `large` asks for an exabyte, `odd` is warned of."""

    columns, classes, fitted = Columns(), ["plain", "cube"], None

    def __init__(self, sha256: str = "a", when_predicting: Callable[[int], object] = lambda count: None) -> None:
        self.trainings = [SimpleNamespace(task="binary", sha256=sha256)]
        self.when_predicting, self.count = when_predicting, 0

    def prepare(self, scan: ScanFiles) -> PreparedScan:
        if scan.first.name.startswith("large"):
            torch.empty(2**60)
        if scan.first.name.startswith("bad"):
            raise ValueError(f"{scan.first}: bad")
        meta = {"warnings": ["values are not on the scale"] if scan.first.name.startswith("odd") else []}
        mean = float(read_scan(scan.first).array.mean())
        return PreparedScan(MetaTensor(torch.full((1, 2, 2, 2), mean), meta={**meta, MEASURES: None}))

    def predict(self, volume: np.ndarray) -> Prediction:
        self.count += 1
        self.when_predicting(self.count)
        mean = float(volume.mean())
        return Prediction(np.array([1 - mean, mean]), (), (np.array([0.5, 0.5]), np.array([0.25, 0.75])))


class RefusesHalf(InputGuard):
    """Refuses what has a mean above a half."""

    def judge(self, measures: object, volume: np.ndarray, embeddings: object) -> Verdict:
        is_high = bool(volume.mean() > 0.5)
        return Verdict("refuse" if is_high else "ok", 2.5 if is_high else 0.5, "too bright" if is_high else None)


def write_scans(folder: Path, **means: float) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mean in means.items():
        nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), mean, np.float32), np.eye(4)), folder / f"{name}.nii.gz")
    return folder


def run_of(classifier: Classifier | None = None, guard: InputGuard | None = None) -> TrainedRun:
    return TrainedRun(classifier or Classifier(), guard or InputGuard(reason="none"))


def rows_in(path: Path) -> dict[str, dict]:
    """Rows by file name, each written once, none with NaN."""
    rows = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    found = {Path(row["path"]).name.split(".")[0]: row for row in rows}
    assert len(found) == len(rows)
    return found


def test_a_scan_that_fails_has_a_row_with_the_reason_and_does_not_affect_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans = write_scans(tmp_path / "scans", a=0.25, bad=0.25, large=0.25, odd=0.5)
    with pytest.raises(ValueError, match="2 of 4 scans could not be predicted:\n.*bad.nii.gz: bad\n.*out of memory"):
        predict_files(run_of(), [scans], tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert [Path(name).name for name in table["path"]] == ["a.nii.gz", "bad.nii.gz", "large.nii.gz", "odd.nii.gz"]
    assert table["prob_cube"].tolist() == ["0.25", "", "", "0.5"]
    assert table["warnings"].tolist() == ["", "", "", "values are not on the scale"]
    assert f"warning: {scans}/odd.nii.gz: values are not on the scale" in caplog.text


def test_csv_and_json_lines_hold_the_same(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "scans", a=0.25, b=0.875)
    for name in ("out.csv", "out.jsonl"):
        predict_files(run_of(), [scans], tmp_path / name)
    table, rows = pd.read_csv(tmp_path / "out.csv"), rows_in(tmp_path / "out.jsonl")
    assert table["prob_cube"].tolist() == [row["probabilities"]["cube"] for row in rows.values()]
    for row, mean in zip(rows.values(), (0.25, 0.875), strict=True):
        assert row["entropy"] == pytest.approx(-mean * np.log(mean) - (1 - mean) * np.log(1 - mean))
        assert row["disagreement"] == pytest.approx(np.std([0.5, 0.75]))
        assert row["guard"] == {"verdict": None, "distance": None, "reason": "none"} and row["conformal_set"] is None


def test_a_killed_run_goes_on_with_nothing_lost_or_repeated(tmp_path: Path) -> None:
    scans, out, killed = (
        write_scans(tmp_path / "scans", a=0.1, b=0.2, c=0.3, d=0.4),
        tmp_path / "out.jsonl",
        tmp_path / "k",
    )
    partial = tmp_path / ".out.jsonl.partial"
    predict_files(
        run_of(Classifier(when_predicting=lambda count: count == 3 and shutil.copy(partial, killed))), [scans], out
    )
    expected = out.read_bytes()
    assert not partial.exists()
    out.unlink()
    # A kill in the middle of the third row; meanwhile the first scan has changed back and forth, the second for good.
    partial.write_bytes(killed.read_bytes() + b'{"key": "')
    write_scans(scans, b=0.25)
    again = Classifier()
    predict_files(run_of(again), [scans], out)
    assert again.count == 3 and rows_in(out)["b"]["probabilities"]["cube"] == 0.25
    write_scans(scans, b=0.2)
    predict_files(run_of(), [scans], out)
    assert out.read_bytes() == expected


def test_another_run_does_not_go_on_from_these_rows(tmp_path: Path) -> None:
    scans, out, killed = write_scans(tmp_path / "scans", a=0.1, b=0.2, c=0.3), tmp_path / "out.csv", tmp_path / "k"
    partial = tmp_path / ".out.csv.partial"
    predict_files(
        run_of(Classifier(when_predicting=lambda count: count == 3 and shutil.copy(partial, killed))), [scans], out
    )
    for sha256, count in (("b", 3), ("a", 1)):
        shutil.copy(killed, partial)
        again = Classifier(sha256)
        predict_files(run_of(again), [scans], out)
        assert again.count == count


def test_what_becomes_of_refused_scans_is_the_users_choice(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "scans", a=0.25, b=0.75, c=0.25)
    found = {}
    for choice in ("keep", "drop"):
        predict_files(
            run_of(guard=RefusesHalf()), [scans], tmp_path / f"{choice}.jsonl", BulkOptions(on_refused=choice)
        )
        found[choice] = rows_in(tmp_path / f"{choice}.jsonl")
    assert found["keep"]["b"]["probabilities"] == {"plain": 0.25, "cube": 0.75}
    assert found["drop"]["b"]["probabilities"] is None and found["drop"]["b"]["entropy"] is None
    assert found["drop"]["b"]["guard"] == {"verdict": "refuse", "distance": 2.5, "reason": "too bright"}
    assert found["drop"]["a"] == found["keep"]["a"]
    stopped = tmp_path / "stop.jsonl"
    with pytest.raises(
        ValueError, match=r"b.nii.gz: refused by the input guard, too bright; .*stop.jsonl is not written"
    ):
        predict_files(run_of(guard=RefusesHalf()), [scans], stopped, BulkOptions(on_refused="stop"))
    assert not stopped.exists()
    rest = Classifier()
    predict_files(run_of(rest, RefusesHalf()), [scans], stopped)
    assert rest.count == 1 and rows_in(stopped) == found["keep"]


def test_ids_of_headers_leave_only_if_they_are_asked_for(tmp_path: Path) -> None:
    folder = write_nifti_twin(tmp_path / "scans", np.ones((2, 3, 4)), np.eye(4))
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.PatientID = "secret"
        slice_.save_as(path)
    predict_files(run_of(), [folder], tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text()
    assert "secret" not in text and str(slice_.SeriesInstanceUID) not in text
    predict_files(run_of(), [folder], tmp_path / "out.csv", BulkOptions(header_ids=True))
    row = pd.read_csv(tmp_path / "out.csv", dtype=str).iloc[0]
    assert (row["patient_id"], row["series_uid"]) == ("secret", str(slice_.SeriesInstanceUID))


def test_a_name_without_a_known_format_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"out.txt: expected a name that ends in .csv or .jsonl"):
        predict_files(run_of(), [tmp_path], tmp_path / "out.txt")


@pytest.mark.slow
def test_rows_do_not_depend_on_workers_and_equal_those_of_python(finished: Path, tmp_path: Path) -> None:
    command, scans = Commands(finished), sorted((finished / "cubes" / "scans").glob("*.nii.gz"))[:8]
    for workers in ("1", "2"):
        words = ["predict", "scans", *map(str, scans), "--run", str(RUN), "--workers", workers]
        command(*words, "--out", str(tmp_path / f"{workers}.jsonl"), *(["--explain"] if workers == "2" else []))
    alone, ahead = rows_in(tmp_path / "1.jsonl"), rows_in(tmp_path / "2.jsonl")
    maps = [row.pop("map") for row in ahead.values()]
    assert alone == ahead and list(alone) == [path.name.split(".")[0] for path in scans]
    assert "2.jsonl: 8 scans" in (tmp_path / "2.log").read_text()
    for scan, name in zip(scans, maps, strict=True):
        drawn, original = nibabel.load(tmp_path / name), nibabel.load(scan)
        assert drawn.shape == original.shape and np.allclose(drawn.affine, original.affine, atol=1e-4)
        assert np.asarray(drawn.dataobj).max() > 0
    run = TrainedRun.load(finished / RUN)
    first = nibabel.load(scans[0])
    for found in (run.predict(scans[0]), run.predict_array(np.asarray(first.dataobj), first.affine)):
        row = next(iter(alone.values()))
        assert found.probabilities == row["probabilities"] and found.guard == Verdict(**row["guard"])
        assert (found.predicted, found.entropy, list(found.warnings)) == (
            row["predicted"],
            row["entropy"],
            row["warnings"],
        )
    assert [found.probabilities for found in run.predict_all(scans[:2])] == [
        row["probabilities"] for row in list(alone.values())[:2]
    ]
