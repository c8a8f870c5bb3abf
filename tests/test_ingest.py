import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from pipeline.imaging.problems import CODES
from tests.conftest import COHORT, REPOSITORY, Commands
from tests.imaging.corpus import REJECTED, WARNED
from tests.imaging.nifti_bytes import nifti


def ingest(*words: str | Path) -> subprocess.CompletedProcess:
    return Commands(REPOSITORY)("ingest", *map(str, words), check=False)


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


def test_extensions_of_impossible_size_or_beyond_the_voxels_are_rejected_by_the_command(tmp_path):
    names = sorted(name for name in REJECTED if name.startswith("extension_"))
    for name in names:
        (tmp_path / name).write_bytes(REJECTED[name][1])
    done = ingest("check", tmp_path)
    rejected = [Path(line.split()[2].strip(":")).name for line in done.stdout.splitlines() if "NII-EXTENSION  " in line]
    assert done.returncode == 1 and rejected[: len(names)] == names and len(names) > 7


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


def write_ct_cohort(folder: Path, shifted: int, num_scans: int = 70) -> None:
    """A config, a table and CTs of a body in air, of which the first ones have the values of their file, not HU."""
    generator = np.random.default_rng(0)
    (folder / "ct" / "scans").mkdir(parents=True)
    rows = ["scan_id,patient_id,path,label"]
    for number in range(num_scans):
        body = generator.normal(-1000, 10, (16, 16, 16))
        body[3:13, 3:13, 3:13] += 1040
        body[3, 3:13, 3:13], body[5:7, 5:7, 5:7] = -100, 700
        values = (body + (1024 if number < shifted else 0)).astype(np.int16)
        spacing = 12.0 if number == num_scans - 1 else 3.0
        path = f"scans/ct{number:02}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values, np.diag([3, 3, spacing, 1])), folder / "ct" / path)
        rows.append(f"ct{number:02},p{number:02},{path},{'cube' if number % 3 else 'plain'}")
    (folder / "ct" / "labels.csv").write_text("\n".join(rows) + "\n")
    config = COHORT.replace("$CUBES", str(folder / "ct")).replace("modality: MR", "modality: CT")
    (folder / "configs" / "cohorts" / "ct.yaml").write_text(config.replace("{scheme: zscore}", "auto"))


def test_every_shifted_ct_of_a_cohort_is_named_and_so_is_the_scan_of_another_geometry(
    project: Path, command: Commands
) -> None:
    write_ct_cohort(project, shifted=40)
    command("fetch", "cohort=ct")
    done = command("ingest", "cohort=ct")
    table = pd.read_csv(project / "data" / "ct" / "cohort.csv", keep_default_na=False).set_index("scan_id")
    shifted = [f"ct{number:02}" for number in range(40)]
    assert table.index[table["warnings"].str.contains("NII-SCALE")].tolist() == shifted
    assert all(f"{name}: " in done.stderr for name in shifted)
    assert table.index[table["warnings"].str.contains("NII-UNUSUAL")].tolist() == ["ct69"]
    assert "voxel size in mm along foot-head 12, expected 3" in done.stderr
