"""What the tracker gets: figures equal to metrics.json, and nothing that names a patient, a machine or a folder."""

import json
import socket
from pathlib import Path

import pytest

from pipeline.tracking.results import flatten, pseudonym
from tests.conftest import Commands


def test_flat_figures_are_those_of_metrics_and_undefined_ones_are_left_out() -> None:
    known = {"value": 0.8, "low": 0.7, "high": 0.9, "num_patients": 30, "reason": None}
    undefined = {"value": None, "low": None, "high": None, "num_patients": 4, "reason": "4 patients"}
    assert flatten({"test": {"patient": {"auroc": known, "f1": undefined}}}) == {
        "test.patient.auroc": 0.8,
        "test.patient.auroc.low": 0.7,
        "test.patient.auroc.high": 0.9,
        "test.patient.auroc.n": 30,
        "test.patient.f1.n": 4,
    }


def test_pseudonyms_are_stable_distinct_and_the_project_s_own() -> None:
    names = [f"p{number:03d}" for number in range(200)]
    assert len({pseudonym(name, "volumes") for name in names}) == 200
    assert pseudonym("p001", "volumes") == pseudonym("p001", "volumes") != pseudonym("p001", "other")
    assert not any(name in pseudonym(name, "volumes") for name in names)


@pytest.mark.slow
def test_offline_runs_hold_the_training_and_no_name_of_patient_machine_or_folder(finished: Path) -> None:
    (sent,) = json.loads((finished / "tracking" / "cubes.json").read_text())["runs"]
    files = [path for path in (finished / "wandb").rglob("*") if path.suffix in (".wandb", ".json") and path.is_file()]
    runs = [path for path in files if path.name == f"run-{sent['run_id']}.wandb"]
    assert len(runs) == 2, "one part from the training, one from the track stage, under one id"
    logged = b"".join(path.read_bytes() for path in files)
    assert b"val_auroc" in logged and b"test.scan." in logged and b"prob_cube" in logged
    for secret in ("p001_0", "p003", str(finished), str(Path.home())):
        assert secret.encode() not in logged
    # The name of a machine may be two letters: it is looked for as a field, which starts with its length.
    host = socket.gethostname().encode()
    assert bytes([len(host)]) + host not in logged


@pytest.mark.slow
def test_a_dry_run_lists_what_would_be_sent(finished: Path) -> None:
    listed = Commands(finished)("track", "--dry-run").stdout
    assert "predictions" in listed and "model best.ckpt" in listed and "p001" not in listed
    # The page shows scans and their ids, and stays here unless tracking.log_images is set.
    assert "tiny.html" not in listed
