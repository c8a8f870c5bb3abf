"""`python -m pipeline.embed` and `probe` on a trained run: one table, two questions, and the report's neighbors."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Commands

pytestmark = pytest.mark.slow
RUN = "runs/cubes/tiny/fold-0-seed-0"
TABLE = Path("runs/cubes/tiny/embeddings/fold-0-seed-0.parquet")


def test_a_trained_run_is_embedded_once_and_probed_and_its_neighbors_are_reported(
    finished: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    command = Commands(copy)
    assert str(TABLE) in command("embed", "--run", RUN).stderr
    table, splits = pd.read_parquet(copy / TABLE), pd.read_csv(copy / "data/cubes/splits.csv", dtype=str)
    assert table["scan_id"].tolist() == splits["scan_id"].tolist()
    assert table.attrs["learned_from"] == {"cohort": "cubes", "fold": 0}
    shown = command("probe", str(TABLE), "--labels", "label", "orientation").stdout
    assert "label" in shown and "orientation" in shown
    record = json.loads((copy / TABLE.with_suffix(".probe.json")).read_text())["labels"]["label"]
    assert list(record["inverse_penalties"]) == ["0"]
    validation = splits[(splits["split"] == "development") & (splits["fold"] == "0")]
    assert record["auroc"]["num_patients"] == validation["patient_id"].nunique()
    command("report")
    page = (copy / "reports/cubes/tiny.html").read_text()
    assert "Nearest training scans" in page and "farthest from any training scan first" in page


def test_what_cannot_be_embedded_or_probed_is_one_clear_error(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    command = Commands(copy)
    for words, says in {
        ("embed",): "its weights are random until it is trained",
        ("embed", "--run", "runs/cubes/tiny"): "runs/cubes/tiny/best.ckpt is missing; name one training",
        ("probe", "lost.parquet"): "lost.parquet is missing; 'python -m pipeline.embed' writes it",
        ("probe", "params.yaml"): "params.yaml: not a Parquet table",
    }.items():
        done = command(*words, check=False)
        assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
