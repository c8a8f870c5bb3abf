import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.imaging.problems import CODES
from tests.imaging.corpus import REJECTED, WARNED
from tests.imaging.nifti_bytes import nifti


def ingest(*words: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pipeline.ingest", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])


@pytest.fixture
def scans(tmp_path) -> Path:
    """A sound scan, a doubtful one and two bad ones, in a folder of folders."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "good.nii.gz").write_bytes(gzip.compress(nifti()))
    (tmp_path / "sub" / "doubtful.nii").write_bytes(WARNED["bitpix.nii"][1])
    (tmp_path / "sub" / "bad.nii.gz").write_bytes(REJECTED["wrong_crc.nii.gz"][1])
    (tmp_path / "sub" / "short.nii").write_bytes(REJECTED["truncated.nii"][1])
    return tmp_path


def test_check_prints_a_line_a_problem_and_a_table_and_fails_on_a_bad_scan(scans):
    done = ingest("check", scans)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["reject", "NII-CRC"], ["warn", "NII-BITPIX"], ["reject", "NII-SHORT"],
    ]  # fmt: skip
    assert str(scans / "sub" / "bad.nii.gz") in lines[0] and CODES["NII-CRC"].remedy in lines[0]
    assert lines[3].split() == ["scans", "verdict", "code", "problem"]
    assert lines[-1] == "4 scans: 1 ok, 1 warn, 2 reject"


def test_check_prints_json_for_programs(scans):
    done = ingest("check", scans / "good.nii.gz", scans / "sub", "--json")
    assert done.returncode == 1
    outcome = {Path(scan["path"]).name: scan for scan in json.loads(done.stdout)["scans"]}
    assert {name: scan["verdict"] for name, scan in outcome.items()} == {
        "good.nii.gz": "ok", "bad.nii.gz": "reject", "doubtful.nii": "warn", "short.nii": "reject",
    }  # fmt: skip
    (problem,) = outcome["doubtful.nii"]["problems"]
    assert set(problem) == {"code", "message", "found"} and problem["found"] == "8 bits for int16"


def test_check_passes_with_warnings_alone(scans):
    done = ingest("check", scans / "good.nii.gz", scans / "sub" / "doubtful.nii")
    assert (done.returncode, done.stderr) == (0, "")


def test_check_of_an_empty_folder_is_an_error(tmp_path):
    done = ingest("check", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path}: no scans in this folder") and done.stderr.count("\n") == 1


def test_checking_loads_no_network_library(scans):
    script = (
        "import sys; from pathlib import Path; from pipeline.ingest import check_scans\n"
        "check_scans([Path(sys.argv[1])]); print({'torch', 'monai'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script, str(scans)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout.splitlines()[-2:] == ["4 scans: 1 ok, 1 warn, 2 reject", "set()"]


@pytest.mark.slow
def test_bad_scan_stops_the_stage_and_leaves_earlier_outputs_or_is_left_out(command, project):
    command("fetch")
    command("ingest")
    outputs = [project / "data" / "cubes" / name for name in ("cohort.csv", "ingest.json")]
    before = [path.read_bytes() for path in outputs]
    (project / "cubes" / "scans" / "p000_0.nii.gz").write_bytes(b"")
    stopped = command("ingest", check=False)
    assert stopped.returncode == 1 and stopped.stderr.count("\n") == 1
    assert "p000_0.nii.gz" in stopped.stderr and "[NII-EMPTY]" in stopped.stderr
    assert [path.read_bytes() for path in outputs] == before
    command("ingest", "cohort.ingest.on_bad_scan=exclude")
    (left_out,) = json.loads(outputs[1].read_text())["excluded"]
    assert left_out["scan_id"] == "p000_0" and "p000_0" not in outputs[0].read_text()
