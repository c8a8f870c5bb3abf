import numpy as np
import pandas as pd

from pipeline.store.simple_features import measure_files, shrink, summarize_scans
from pipeline.store.store import Store


def test_shrinking_takes_the_means_of_even_blocks():
    volume = np.random.default_rng(0).normal(size=(2, 16, 24, 8)).astype(np.float32)
    expected = volume.reshape(2, 8, 2, 8, 3, 8, 1).mean((2, 4, 6), dtype=float)
    assert np.allclose(shrink(volume), expected, atol=1e-6)


def test_uneven_and_short_axes_keep_every_voxel_once():
    volume = np.zeros((1, 11, 3, 20), np.float32)
    volume[0, 10, 2, 19] = 6.0
    tiny = shrink(volume)
    assert tiny.shape == (1, 8, 3, 8)
    # The last block of 11 in 8 holds two voxels along D, that of 20 in 8 three along W.
    assert tiny[0, 7, 2, 7] == 6.0 / (2 * 1 * 3) and np.count_nonzero(tiny) == 1


def test_intensities_do_not_depend_on_place_and_the_tiny_copy_does(tmp_path):
    store, rng = Store(tmp_path), np.random.default_rng(1)
    volume = rng.normal(size=(2, 16, 16, 16)).astype(np.float32)
    for name, array in (("a", volume), ("b", volume[:, ::-1].copy())):
        store.write(name, array, np.eye(4), source_sha256="", plan_sha256="", code_sha256="")
    found = summarize_scans(store, ["a", "b"])
    intensities, tiny = found["intensity summaries"], found["blurred volume"]
    assert np.allclose(intensities.loc["a"], intensities.loc["b"])
    assert np.allclose(tiny.loc["a"].to_numpy().reshape(2, 8, 8, 8)[:, ::-1].ravel(), tiny.loc["b"])
    assert np.allclose(intensities.loc["a", "percentile_50_1"], np.median(volume[1]), atol=1e-3)


def test_the_size_of_a_folder_of_slices_is_that_of_its_files(tmp_path):
    (tmp_path / "series").mkdir()
    for name, content in (("one.nii", b"123"), ("series/a.dcm", b"12"), ("series/b.dcm", b"1234")):
        (tmp_path / name).write_bytes(content)
    cohort = pd.DataFrame({"scan_id": ["s1", "s2"], "path": ["one.nii", "series"]})
    assert measure_files(tmp_path, cohort).to_dict() == {"s1": 3, "s2": 6}
