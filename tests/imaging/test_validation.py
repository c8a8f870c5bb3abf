import gzip
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.imaging.io.discover import find_scans
from pipeline.imaging.io.read import read_scan
from pipeline.imaging.problems import CODES, ScanProblem
from pipeline.imaging.validation import check_scan
from tests.imaging.corpus import ACCEPTED, NO_FILES, REJECTED, WARNED
from tests.imaging.io.test_dicom import BROKEN
from tests.imaging.nifti_bytes import VOXELS, nifti


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name if "." in name else folder / f"{name}.nii.gz"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", REJECTED)
def test_bad_file_is_rejected_with_its_code_and_never_read(name, tmp_path):
    code, content = REJECTED[name]
    path = write(tmp_path, name, content)
    check = check_scan(path)
    assert (check.verdict, check.problems[-1].code, check.facts) == ("reject", code, None)
    with pytest.raises(ScanProblem) as caught:
        read_scan(path)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert caught.value.found in str(caught.value) and CODES[code].remedy in str(caught.value)


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_rejected(name, tmp_path):
    check = check_scan(NO_FILES[name](tmp_path))
    assert check.verdict == "reject"
    assert [problem.code for problem in check.problems] == [name.split()[0]]


@pytest.mark.parametrize("name", WARNED)
def test_doubtful_file_is_read_right_with_one_warning(name, tmp_path):
    code, content, voxels = WARNED[name]
    path = write(tmp_path, name, content)
    check = check_scan(path)
    assert (check.verdict, [problem.code for problem in check.problems]) == ("warn", [code])
    np.testing.assert_array_equal(read_scan(path).array, voxels)


@pytest.mark.parametrize("name", ACCEPTED)
def test_unusual_file_is_read_right_without_a_warning(name, tmp_path):
    content, voxels = ACCEPTED[name]
    path = write(tmp_path, name, content)
    assert check_scan(path).problems == ()
    np.testing.assert_array_equal(read_scan(path).array, voxels)


def test_every_code_of_the_table_is_met_by_a_file():
    met = {row[0] for row in (*REJECTED.values(), *WARNED.values())} | {name.split()[0] for name in NO_FILES}
    met |= {name.split()[0] for name in BROKEN} | {"DCM-FILE"}
    # These need more than one file of bytes, and have tests of their own.
    elsewhere = {"NII-ACCESS", "NII-FILLED", "NII-CHANNEL-MISSING", "NII-CHANNEL-GRID"}
    elsewhere |= {
        "DCM-OTHER",
        "DCM-SERIES",
        "NII-SCALE",
        "NII-UNUSUAL",
        "NII-CROP-MASK",
        "NII-CROP-OUTSIDE",
        "NII-CROP-CENTER",
    }
    assert {code for code in CODES if not code.startswith("TAB-")} == met | elsewhere


def test_four_axes_say_which_volumes_there_are_and_how_to_choose(tmp_path):
    problem = check_scan(write(tmp_path, "four.nii", REJECTED["four_axes.nii"][1])).problems[-1]
    assert "(7, 6, 5, 4)" in problem.found and "0 to 3" in problem.found
    assert "slicer[..., index]" in problem.message


def test_declared_size_is_held_against_the_most_a_stream_can_hold_before_inflating(tmp_path):
    path = write(tmp_path, "more.nii.gz", REJECTED["many_more_voxels.nii.gz"][1])
    most = 1032 * path.stat().st_size - 352
    assert check_scan(path).problems[-1].found == f"{most} bytes at most, {2 * 1000**3} declared"


def test_disagreeing_forms_say_which_was_used(tmp_path):
    problem = check_scan(write(tmp_path, "forms.nii", WARNED["forms.nii"][1])).problems[-1]
    assert "the sform was used" in problem.message


def test_micron_are_converted_to_mm(tmp_path):
    scan = read_scan(write(tmp_path, "micron.nii", WARNED["micron.nii"][1]))
    np.testing.assert_allclose(scan.affine, read_scan(write(tmp_path, "mm.nii", nifti())).affine)


def test_fill_replaces_nonfinite_voxels_with_a_warning(tmp_path):
    voxels = VOXELS.astype("f4")
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, np.inf
    path = write(tmp_path, "nan.nii", nifti(voxels))
    check = check_scan(path, fill=-5)
    assert [(problem.code, problem.found) for problem in check.problems] == [("NII-FILLED", "2 of 210 voxels")]
    np.testing.assert_array_equal(read_scan(path, fill=-5).array, np.where(np.isfinite(voxels), voxels, -5))


def test_fill_is_in_the_unit_that_the_file_means(tmp_path):
    voxels = VOXELS.astype("f4")
    voxels[0, 0, 0] = np.nan
    path = write(tmp_path, "scaled.nii", nifti(voxels, scl_slope=2, scl_inter=10))
    expected = VOXELS * 2.0 + 10
    expected[0, 0, 0] = -5
    np.testing.assert_array_equal(read_scan(path, fill=-5).array, expected)


def check_as_nobody(folder: Path) -> dict[str, str]:
    """The last problem of each path that checking finds, by a user who may not read everything."""
    script = (
        "import json, os, sys; from pathlib import Path\n"
        "from pipeline.imaging.validation import all_scans, check_scan\n"
        "if os.geteuid() == 0: os.setuid(65534)  # root reads anything\n"
        "checks = [check_scan(path) for path in all_scans([Path(sys.argv[1])])]\n"
        "print(json.dumps({c.path.name: c.problems[-1].code if c.problems else 'ok' for c in checks}))"
    )
    words = [sys.executable, "-c", script, str(folder)]
    repository = Path(__file__).parents[2]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, cwd=repository).stdout)


def test_what_may_not_be_read_is_named_and_stops_no_other():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "closed").mkdir()
        (folder / "open").mkdir()
        for scan in ("closed/a.nii", "open/closed.nii", "open/good.nii", "open/notes"):
            (folder / scan).write_bytes(nifti())
        folder.chmod(0o755)
        for closed in ("closed", "open/closed.nii", "open/notes"):
            (folder / closed).chmod(0)
        found = check_as_nobody(folder)
        (folder / "closed").chmod(0o755)
    assert found == {"closed": "NII-ACCESS", "closed.nii": "NII-ACCESS", "good.nii": "ok", "notes": "NII-ACCESS"}


def test_a_scan_that_does_not_fit_into_memory_is_rejected(tmp_path):
    path = write(tmp_path, "large.nii", nifti(VOXELS.astype("f8"), dim=[3, 1200, 1200, 1200, 1, 1, 1, 1]))
    os.truncate(path, 352 + 8 * 1200**3)
    script = (
        "import resource, sys; from pathlib import Path; from pipeline.imaging.validation import check_scan\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "print(check_scan(Path(sys.argv[1])).problems[-1].message)"
    )
    words = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "too many voxels for a scan or for memory, got Unable to allocate 12.9 GiB" in done.stdout


def test_a_folder_without_slices_is_no_scan(tmp_path):
    (problem,) = check_scan(tmp_path).problems
    assert problem.message.startswith("neither a file nor a folder of DICOM slices, got a folder")


def test_a_file_that_cannot_be_reached_is_rejected(tmp_path):
    write(tmp_path, "file.nii", nifti())
    assert check_scan(tmp_path / "file.nii" / "inner.nii").problems[-1].code == "NII-ACCESS"


def test_same_voxels_have_one_hash_whatever_dtype_scaling_order_or_compression(tmp_path):
    as_saved = [
        write(tmp_path, "a.nii", nifti()),
        write(tmp_path, "b.nii.gz", ACCEPTED["big_endian.nii"][0]),
        write(tmp_path, "c.nii", nifti(VOXELS.astype("f8"))),
        write(tmp_path, "d.nii", nifti((VOXELS * 2).astype("i4"), scl_slope=0.5)),
        write(tmp_path, "e.nii", nifti(version=2, srow_x=[-2, 0, 0, 0])),
    ]
    assert len({check_scan(path).facts.voxel_sha256 for path in as_saved}) == 1
    assert len({check_scan(path).facts.file_sha256 for path in as_saved}) == len(as_saved)


@pytest.mark.parametrize("other", [VOXELS + 1, VOXELS.reshape(6, 7, 5)], ids=["values", "shape"])
def test_other_voxels_have_another_hash(other, tmp_path):
    one, two = write(tmp_path, "one.nii", nifti()), write(tmp_path, "two.nii", nifti(other))
    assert check_scan(one).facts.voxel_sha256 != check_scan(two).facts.voxel_sha256


def test_facts_are_those_of_the_file(tmp_path):
    facts = check_scan(write(tmp_path, "a.nii", nifti(srow_x=[0, 0, 3, 0], srow_z=[-2, 0, 0, 0]))).facts
    assert (facts.shape, facts.spacing_mm, facts.orientation, facts.dtype) == ((7, 6, 5), (2, 2, 3), "IAR", "int16")


def test_folder_gives_its_scans_sorted_and_a_pair_once(tmp_path):
    for name in ("b.nii", "sub/a.NII.GZ", "pair.hdr", "pair.img", "notes.txt", ".hidden.nii", "alone.img"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "back").symlink_to(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in find_scans(tmp_path)]
    assert names == ["alone.img", "b.nii", "pair.hdr", "sub/a.NII.GZ"]


def test_rejection_survives_pickling(tmp_path):
    with pytest.raises(ScanProblem) as caught:
        read_scan(tmp_path / "absent.nii")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.code, again.found) == (str(caught.value), caught.value.code, caught.value.found)


def peak_memory_mb(path: Path) -> float:
    """Largest resident size of a process that checks one file and does nothing else."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the system does not tell a process's largest size")
    script = (
        "import sys; from pathlib import Path; from pipeline.imaging.validation import check_scan\n"
        f"check_scan(Path(sys.argv[1])); print(Path('{status}').read_text())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    # Not getrusage, whose figure for a child starts from its parent's size.
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("name", ["bomb.nii.gz", "huge.nii.gz", "many_more_voxels.nii.gz"])
def test_hostile_file_takes_little_memory(name, tmp_path):
    assert peak_memory_mb(write(tmp_path, name, REJECTED[name][1])) < 500


@pytest.mark.slow
def test_large_scan_takes_its_size_and_little_more(tmp_path):
    path = write(tmp_path, "large.nii.gz", gzip.compress(nifti(np.zeros((600, 600, 600), "u1")), 1))
    assert peak_memory_mb(path) < 600**3 / 2**20 + 500


def test_folders_that_link_to_each_other_are_walked_once(tmp_path):
    names = "abcdefgh"
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.nii").write_bytes(b"")
        for other in set(names) - {name}:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    # By every way through eight folders it would be over 100,000.
    assert len(list(find_scans(tmp_path))) <= 2 * len(names)
    assert {path.name for path in find_scans(tmp_path)} == {f"{name}.nii" for name in names}
