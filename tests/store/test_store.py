import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.store.store import Store

HASHES = {"source_sha256": "a", "plan_sha256": "b", "code_sha256": "c"}
ARRAY = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)

WRITER = """
import sys
from pathlib import Path
import numpy as np
from pipeline.store.store import Store

store = Store(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    array = np.random.default_rng(number % 5).normal(size=(40, 40, 40)).astype(np.float32)
    store.write(f"scan{number % 5}", array, np.eye(4), source_sha256="a", plan_sha256="b", code_sha256="c")
"""


def start_writer(folder: Path, num_scans: int) -> subprocess.Popen:
    repository = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(num_scans)],
        env={**os.environ, "PYTHONPATH": repository},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("scan_id", ["a", "007", "sub-01/ses-2", "..", ".hidden", "grün 7", "50%", "a%2Fb", "A.nii"])
def test_any_scan_id_is_kept_apart_and_found_again(tmp_path, scan_id):
    store = Store(tmp_path)
    store.write(scan_id, ARRAY, np.eye(4), **HASHES)
    store.write("other", ARRAY * 2, np.eye(4), **HASHES)
    assert store.scan_ids() == sorted([scan_id, "other"])
    assert store.record(scan_id).scan_id == scan_id
    np.testing.assert_allclose(store.read(scan_id)[0], ARRAY, atol=1e-3)


def test_a_missing_scan_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="scan 'x' is not in the store; 'dvc repro preprocess' writes it"):
        Store(tmp_path).read("x")
    assert Store(tmp_path).record("x") is None


def test_an_entry_under_another_scans_name_does_not_count(tmp_path):
    store = Store(tmp_path)
    store.write("a", ARRAY, np.eye(4), **HASHES)
    store.path("a").rename(store.path("b"))
    assert store.record("b") is None


def test_a_flipped_bit_is_found_wherever_it_is_and_a_missing_scan_too(tmp_path):
    store = Store(tmp_path)
    for scan_id in ("a", "b"):
        store.write(scan_id, ARRAY, np.eye(4), **HASHES)
    whole = store.path("b").read_bytes()
    start = len(whole) - 2 * ARRAY.size
    assert store.verify(["a", "b", "c"]) == ["c"]
    # All of header and record, and a sample of the voxels.
    for position in [*range(start), *range(start, len(whole), 509), len(whole) - 1]:
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        store.path("b").write_bytes(content)
        assert store.verify(["a", "b"]) == ["b"], position


def test_a_bit_that_a_disk_lost_is_found_though_size_and_time_are_as_before(tmp_path):
    store = Store(tmp_path)
    store.write("a", ARRAY, np.eye(4), **HASHES)
    path, before = store.path("a"), store.path("a").stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.verify(["a"]) == ["a"]


def test_the_fingerprint_follows_voxels_and_ids_not_order_or_origin(tmp_path):
    store = Store(tmp_path)
    for scan_id, scale in (("a", 1), ("b", 2), ("c", 1)):
        store.write(scan_id, ARRAY * scale, np.eye(4), **HASHES)
    assert store.fingerprint(["a", "b"]) == store.fingerprint(["b", "a"])
    assert len({store.fingerprint(ids) for ids in (["a", "b"], ["b", "c"], ["a"], ["c"])}) == 4
    before = store.fingerprint(["a"])
    store.write("a", ARRAY, np.eye(4), **{**HASHES, "plan_sha256": "other"})
    assert store.fingerprint(["a"]) == before


def test_pruning_removes_other_scans_and_abandoned_temporaries_only(tmp_path):
    store = Store(tmp_path)
    for scan_id in ("a", "b"):
        store.write(scan_id, ARRAY, np.eye(4), **HASHES)
    young, old = tmp_path / ".a.nii.x1.nii", tmp_path / ".a.nii.x2.nii"
    young.touch()
    old.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    store.prune(["a"])
    assert store.scan_ids() == ["a"] and young.exists() and not old.exists()


def test_two_writers_of_the_same_scans_leave_whole_ones(tmp_path):
    writers = [start_writer(tmp_path, 60) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    store = Store(tmp_path)
    assert store.scan_ids() == [f"scan{number}" for number in range(5)]
    assert store.verify(store.scan_ids()) == []


def test_a_store_is_pruned_beside_a_writer(tmp_path):
    writer, store = start_writer(tmp_path, 100), Store(tmp_path)
    while writer.poll() is None:
        store.prune(["scan0", "scan1"])
    assert writer.returncode == 0
    store.prune(["scan0", "scan1"])
    assert store.scan_ids() == ["scan0", "scan1"] and store.verify(store.scan_ids()) == []


def test_a_kill_at_any_moment_leaves_whole_scans(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(2):
        writer = start_writer(tmp_path, 100_000)
        writer.stdout.readline()
        store = Store(tmp_path)
        while not store.scan_ids():
            time.sleep(0.001)
        time.sleep(rng.uniform(0.01, 0.2))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert store.scan_ids() and store.verify(store.scan_ids(), threads=2) == []


def test_a_full_disk_is_an_error_and_keeps_what_was_there(tmp_path):
    store = Store(tmp_path)
    store.write("a", ARRAY, np.eye(4), **HASHES)
    before = store.path("a").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError):
            store.write("a", ARRAY * 3, np.eye(4), **HASHES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.path("a").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_long_id_is_found_by_its_name_although_its_file_has_another(tmp_path):
    store, names = Store(tmp_path), ["\u05d0" * 150, "\u05d0" * 149, "short"]
    for number, name in enumerate(names):
        store.write(name, np.full((1, 2, 2, 2), number, np.float32), np.eye(4), **HASHES)
    assert store.scan_ids() == sorted(names) and max(len(path.name) for path in tmp_path.iterdir()) < 210
    assert [store.read(name)[0].max() for name in names] == [0, 1, 2]
    store.prune(names[1:])
    assert store.scan_ids() == sorted(names[1:])


def test_voxels_that_were_overwritten_are_an_error_when_they_are_read(tmp_path):
    store = Store(tmp_path)
    store.write("a", np.ones((1, 4, 4, 4), np.float32), np.eye(4), **HASHES)
    content = bytearray(store.path("a").read_bytes())
    content[-1] ^= 1
    store.path("a").write_bytes(content)
    for read in (store.read, store.entry):
        with pytest.raises(ValueError, match=r"a\.nii: its bytes changed since it was stored; 'dvc repro preprocess'"):
            read("a")
