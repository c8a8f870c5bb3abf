import hashlib
import json
import logging
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from pipeline.imaging.io.discover import ScanFiles
from pipeline.store.build import Job, Versions, prepare_one, preprocess_cohort
from pipeline.store.store import Store
from tests.conftest import REPOSITORY, Commands
from tests.imaging.scan_making import centered_affine, make_plan, random_linear

PLAN = make_plan(crop="foreground", intensity={"scheme": "zscore"}, size_voxels=(20, 20, 20))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six scans on grids of their own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(6):
        shape = (30, 28, 26)
        array = (rng.gamma(2, 20, shape) + 300 * (np.indices(shape).min(0) > 6)).astype(np.int16)
        affine = centered_affine(random_linear(rng), shape, rng.normal(0, 20, 3))
        nib.save(nib.Nifti1Image(array, affine), folder / f"s{number}.nii.gz")
    return folder


def table(raw: Path) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scan_id": [path.name[:2] for path in sorted(raw.iterdir())],
            "path": [path.name for path in sorted(raw.iterdir())],
        }
    )


def contents(store: Store) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(store.folder.iterdir())}


def written_at(store: Store) -> dict[str, int]:
    return {scan_id: store.path(scan_id).stat().st_mtime_ns for scan_id in store.scan_ids()}


@pytest.fixture
def alone(raw: Path, tmp_path: Path) -> dict[str, str]:
    """What one process writes."""
    store = Store(tmp_path / "alone")
    preprocess_cohort(table(raw), raw, PLAN, store)
    return contents(store)


def test_three_processes_write_the_same_bytes_as_one(raw, alone, tmp_path, processes_for_short_work):
    store = Store(tmp_path / "three")
    preprocess_cohort(table(raw), raw, PLAN, store, workers=3)
    assert contents(store) == alone


def test_a_dask_cluster_writes_the_same_bytes_as_one_process(raw, alone, tmp_path):
    from distributed import LocalCluster

    store = Store(tmp_path / "dask")
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        preprocess_cohort(table(raw), raw, PLAN, store, scheduler=cluster.scheduler_address)
    assert contents(store) == alone


def test_only_what_changed_is_done_again(raw, tmp_path):
    store = Store(tmp_path / "store")
    preprocess_cohort(table(raw), raw, PLAN, store)
    before = written_at(store)
    nib.save(nib.Nifti1Image(np.full((9, 9, 9), 5, np.int16), np.eye(4)), raw / "s2.nii.gz")
    preprocess_cohort(table(raw), raw, PLAN, store)
    assert [scan for scan, when in written_at(store).items() if when != before[scan]] == ["s2"]


def test_another_batch_size_prepares_nothing_again_and_another_spacing_everything(raw, tmp_path):
    store = Store(tmp_path / "store")
    preprocess_cohort(table(raw), raw, PLAN, store)
    before = written_at(store)
    preprocess_cohort(table(raw), raw, PLAN.model_copy(update={"batch_size": 7, "reasons": {"a": "b"}}), store)
    assert written_at(store) == before
    preprocess_cohort(table(raw), raw, PLAN.model_copy(update={"spacing_mm": (2.5, 2.5, 2.5)}), store)
    assert all(when != before[scan] for scan, when in written_at(store).items())


def test_a_damaged_entry_is_written_again(raw, alone, tmp_path):
    store = Store(tmp_path / "alone")
    store.path("s1").write_bytes(store.path("s1").read_bytes()[:-10])
    preprocess_cohort(table(raw), raw, PLAN, store)
    assert contents(store) == alone


def test_an_entry_with_a_flipped_bit_is_found_and_written_again(raw, alone, tmp_path, caplog):
    store = Store(tmp_path / "alone")
    content = bytearray(store.path("s1").read_bytes())
    content[-1000] ^= 1
    store.path("s1").write_bytes(content)
    before = written_at(store)
    preprocess_cohort(table(raw), raw, PLAN, store)
    assert contents(store) == alone and "1 stored scans are damaged and are done again: s1" in caplog.text
    assert [scan for scan, when in written_at(store).items() if when != before[scan]] == ["s1"]


def test_a_worker_with_other_code_stops_the_run(raw, tmp_path):
    job = Job("s0", ScanFiles((raw / "s0.nii.gz",)), None)
    with pytest.raises(
        ValueError, match="another version of this pipeline, .* expected 0000.*; install the same version"
    ):
        prepare_one(job, plan=PLAN, folder=tmp_path / "store", versions=Versions("", "0" * 64))
    assert not (tmp_path / "store").exists()


def test_scans_that_left_the_cohort_leave_the_store(raw, alone, tmp_path):
    store = Store(tmp_path / "alone")
    preprocess_cohort(table(raw)[:4], raw, PLAN, store)
    assert store.scan_ids() == ["s0", "s1", "s2", "s3"]
    manifest = json.loads((store.folder / "manifest.json").read_text())
    assert [scan["scan_id"] for scan in manifest["scans"]] == store.scan_ids()


def test_bad_scans_are_all_named_and_the_good_ones_are_stored(raw, tmp_path):
    (raw / "s1.nii.gz").write_bytes(b"")
    (raw / "s3.nii.gz").write_text("<html>not found</html>")
    store = Store(tmp_path / "store")
    with pytest.raises(ValueError, match=r"(?s)2 of 6 scans failed, the others are stored:.*s1\.nii.*s3\.nii"):
        preprocess_cohort(table(raw), raw, PLAN, store)
    assert store.scan_ids() == ["s0", "s2", "s4", "s5"]


def test_a_file_that_changed_after_it_was_checked_is_refused(raw, tmp_path):
    checked = table(raw).assign(file_sha256="0" * 64)
    with pytest.raises(ValueError, match="its hash changed since it was validated; run 'dvc repro ingest'"):
        preprocess_cohort(checked, raw, PLAN, Store(tmp_path / "store"))


def test_a_full_disk_stops_at_once_and_says_where(raw, tmp_path):
    folder = tmp_path / "store"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="what is stored already is kept.*store"):
            preprocess_cohort(table(raw), raw, PLAN, Store(folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(folder.iterdir()) == []


PREPARE = """
import os, sys
from pathlib import Path
import pandas as pd
import pipeline.imaging.preprocessing  # while this process may still read the libraries
from pipeline.config import Plan
from pipeline.store.build import preprocess_cohort
from pipeline.store.store import Store
raw, folder, plan = Path(sys.argv[1]), Path(sys.argv[2]), Plan.model_validate_json(sys.argv[3])
if "--as-nobody" in sys.argv and os.geteuid() == 0:
    os.setuid(65534)  # root writes anywhere
names = sorted(path.name for path in raw.iterdir())
preprocess_cohort(pd.DataFrame({"scan_id": [name[:2] for name in names], "path": names}), raw, plan, Store(folder))
"""
"""Preprocessing in a process of its own."""


def words_to_prepare(raw: Path, folder: Path) -> tuple[str, ...]:
    return ("-c", PREPARE, str(raw), str(folder), PLAN.model_dump_json())


def test_a_read_only_folder_is_said(raw):
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        outside.chmod(0o755)
        shutil.copytree(raw, outside / "raw")
        (outside / "store").mkdir(mode=0o555)
        words = words_to_prepare(outside / "raw", outside / "store")
        said = Commands(REPOSITORY).python(*words, "--as-nobody").stderr
    assert "PermissionError" in said and "what is stored already is kept" in said


def test_a_raw_scan_that_may_not_be_read_is_its_own_failure(raw):
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        outside.chmod(0o755)
        shutil.copytree(raw, outside / "raw")
        (outside / "raw" / "s1.nii.gz").chmod(0)
        (outside / "store").mkdir()
        (outside / "store").chmod(0o777)
        words = words_to_prepare(outside / "raw", outside / "store")
        said = Commands(REPOSITORY).python(*words, "--as-nobody").stderr
        assert Store(outside / "store").scan_ids() == ["s0", "s2", "s3", "s4", "s5"]
    assert "1 of 6 scans failed, the others are stored" in said and "s1.nii.gz: the file cannot be read" in said


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(raw, tmp_path):
    for number in range(6, 30):
        shutil.copy(raw / f"s{number % 6}.nii.gz", raw / f"{number}.nii.gz")
    store = Store(tmp_path / "killed")
    run = Commands(REPOSITORY).start(*words_to_prepare(raw, store.folder))
    while not store.scan_ids():
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    before = written_at(store)
    assert 0 < len(before) < 30 and not (store.folder / "manifest.json").exists()
    cohort = table(raw)
    preprocess_cohort(cohort, raw, PLAN, store)
    after = written_at(store)
    assert {scan_id: after[scan_id] for scan_id in before} == before
    whole = Store(tmp_path / "whole")
    preprocess_cohort(cohort, raw, PLAN, whole)
    assert {name: digest for name, digest in contents(store).items() if not name.startswith(".")} == contents(whole)


def test_an_extra_transform_that_does_not_exist_is_one_error_before_any_scan(raw, tmp_path):
    plan = make_plan(extra=({"name": "GausianSmooth"},))
    with pytest.raises(ValueError, match="unknown transform 'GausianSmooth'.*GaussianSmooth") as caught:
        preprocess_cohort(table(raw), raw, plan, Store(tmp_path / "store"))
    assert str(caught.value).count("GausianSmooth") == 1 and Store(tmp_path / "store").scan_ids() == []


def test_an_extra_transform_without_an_inverse_is_named_once(raw, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    extra = ({"name": "Flip", "spatial_axis": 0}, {"name": "GaussianSmooth", "sigma": 0.5})
    preprocess_cohort(table(raw), raw, make_plan(extra=extra), Store(tmp_path / "store"))
    (message,) = [message for message in caplog.messages if "has no inverse" in message]
    assert "GaussianSmooth" in message


def test_warnings_are_summed_up_also_for_scans_prepared_earlier(raw, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    small = make_plan(crop="foreground", size_voxels=(4, 20, 20))
    for _ in range(2):
        caplog.clear()
        preprocess_cohort(table(raw), raw, small, Store(tmp_path / "store"))
        assert any("along D is outside the input" in message for message in caplog.messages)
