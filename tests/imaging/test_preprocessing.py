import nibabel as nib
import numpy as np
import pytest

from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.store.store import Store
from tests.imaging.scan_making import make_plan, prepare

HASHES = {"source_sha256": "a", "plan_sha256": "b", "code_sha256": "c"}


def test_a_stored_scan_has_the_bits_of_a_freshly_prepared_one(tmp_path):
    array = np.random.default_rng(0).gamma(2, 100, (40, 44, 30)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([-1.3, 0.9, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    prepared = preprocess_scan(tmp_path / "scan.nii.gz", make_plan(intensity={"scheme": "zscore"}))
    Store(tmp_path / "store").write("scan", prepared.array, prepared.affine, **HASHES)
    stored, affine = Store(tmp_path / "store").read("scan")
    np.testing.assert_array_equal(stored, prepared.array)
    np.testing.assert_allclose(affine, prepared.affine, atol=1e-4)


def test_a_binary_mask_on_its_own_grid_stays_binary():
    mask = (np.random.default_rng(0).random((28, 28, 28)) < 0.1).astype(np.uint8)
    prepared = prepare([mask], np.eye(4), make_plan(orientation="RAS", spacing_mm=(1, 1, 1), size_voxels=(28, 28, 28)))
    np.testing.assert_array_equal(prepared.array[0], mask)


def test_a_shrunken_mask_is_its_occupancy():
    mask = np.zeros((32, 32, 32), np.uint8)
    mask[8:19, 8:20, 8:24] = 1
    prepared = prepare([mask], np.eye(4), make_plan(orientation="RAS", size_voxels=(16, 16, 16)))
    assert prepared.array.sum() * 8 == pytest.approx(mask.sum(), rel=0.01)
    assert 0 <= prepared.array.min() and prepared.array.max() == pytest.approx(1, abs=1e-4)


def test_the_input_is_centered_on_the_body_only_if_the_plan_says_so():
    array = np.zeros((60, 60, 60), np.float32)
    array[40:50, 10:20, 25:35] = 100
    on_body = prepare(
        [array], np.eye(4), make_plan(orientation="RAS", spacing_mm=(1, 1, 1), size_voxels=(12,) * 3, crop="foreground")
    )
    on_middle = prepare([array], np.eye(4), make_plan(orientation="RAS", spacing_mm=(1, 1, 1), size_voxels=(12,) * 3))
    assert (on_body.array == 100).sum() == 1000
    assert (on_middle.array == 100).sum() == 0


def test_a_body_that_does_not_fit_is_said_along_its_axis():
    array = np.zeros((60, 60, 60), np.float32)
    array[5:55, 20:40, 20:40] = 100
    plan = make_plan(orientation="SPL", spacing_mm=(1, 1, 1), size_voxels=(30, 30, 40), crop="foreground")
    warnings = prepare([array], np.eye(4), plan).warnings
    assert warnings == ("over 10% of the body's extent along W is outside the input; raise size_voxels or spacing_mm",)


def test_outside_the_scan_is_the_scans_own_background():
    array = np.full((20, 20, 20), -1000, np.int16)
    array[5:15, 5:15, 5:15] = 40
    plan = make_plan(intensity={"scheme": "window", "window_hu": (-200, 200)}, size_voxels=(20, 20, 20))
    prepared = prepare([array], np.eye(4), plan)
    assert prepared.array[0, 0, 0, 0] == 0 and prepared.array.max() == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    "intensity",
    [
        {"scheme": "zscore"},
        {"scheme": "rescale"},
        {"scheme": "window", "window_hu": (0, 800)},
        {"scheme": "unchanged"},
    ],
)
def test_padding_round_a_scan_without_empty_space_tells_nothing(intensity):
    # Tissue to its edges; as a CT without air.
    tissue = np.random.default_rng(0).normal(400, 60, (20, 21, 22)).astype(np.float32)
    prepared = {
        size: prepare(
            [tissue],
            np.eye(4),
            make_plan(spacing_mm=(1, 1, 1), size_voxels=(size,) * 3, orientation="RAS", intensity=intensity),
        ).array[0]
        for size in (24, 40)
    }
    inside, padded = prepared[40][10:30, 9:30, 9:31], np.ones((40, 40, 40), bool)
    padded[10:30, 9:30, 9:31] = False
    step = 1e-4 * np.abs(inside).max()
    np.testing.assert_allclose(prepared[40][padded], inside.mean(), atol=step)
    assert inside.std() > 100 * step
    # However large the input, the scan's own voxels are what they are.
    np.testing.assert_allclose(prepared[24][2:22, 1:22, 1:23], inside, atol=step)


@pytest.mark.parametrize(
    "intensity", [{"scheme": "window", "window_hu": (0, 80)}, {"scheme": "zscore"}, {"scheme": "unchanged"}]
)
def test_what_a_scan_was_filled_with_goes_on_beyond_its_edge(intensity):
    # A skull-stripped CT without air, or tissue of two kinds that an expert cut out.
    tissue = np.random.default_rng(0).normal(35, 6, (20, 20, 20)).astype(np.int16)
    tissue[:3, :3] = 0
    plan = make_plan(orientation="RAS", spacing_mm=(1, 1, 1), size_voxels=(30,) * 3, intensity=intensity)
    prepared = prepare([tissue], np.eye(4), plan).array[0]
    assert (prepared[:5] == prepared.min()).all() and prepared[5, 5, 15] == prepared.min()
    body = prepared[5:25, 5:25, 5:25][tissue > 0]
    assert (body > prepared.min()).mean() > 0.99
    if intensity["scheme"] == "zscore":
        assert body.mean() == pytest.approx(0, abs=1e-3) and body.std() == pytest.approx(1, abs=1e-3)


def test_where_a_histogram_is_matched_padding_is_no_body():
    tissue = np.random.default_rng(0).normal(400, 60, (20, 20, 20)).astype(np.float32)
    prepared = prepare(
        [tissue],
        np.eye(4),
        make_plan(orientation="RAS", spacing_mm=(1, 1, 1), size_voxels=(40,) * 3, intensity={"scheme": "histogram"}),
    )
    assert (prepared.array[0, :10] == 0).all() and (prepared.array > 0).sum() == pytest.approx(8000, rel=0.01)


def test_a_scan_of_another_number_of_files_than_planned_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"scan\.nii: 1 files a scan, expected 2: t1, flair"):
        preprocess_scan(tmp_path / "scan.nii", make_plan(channels=("t1", "flair")))


def test_channels_that_say_which_files_are_there_are_held_against_the_stores_step_alone():
    image = np.random.default_rng(0).random((20, 20, 20))
    plan = make_plan(channels=("t1", "flair"), missing_channel="zero")
    prepared = prepare([image * 4000, None], np.eye(4), plan)
    assert [set(np.unique(channel)) for channel in prepared.array[2:]] == [{1}, {0}]
    with pytest.raises(ValueError, match="expected 32767 at most beside channels that say which files are there"):
        prepare([image * 90_000, None], np.eye(4), plan)


def test_a_channel_that_the_common_step_would_round_away_is_refused():
    small = np.random.default_rng(0).random((20, 20, 20))
    plan = make_plan(channels=("t1", "map"))
    assert prepare([small * 30, small], np.eye(4), plan).array.shape == (2, 32, 32, 32)
    with pytest.raises(ValueError, match="differ at most 32-fold; choose a preprocess.intensity"):
        prepare([small * 4000, small], np.eye(4), plan)
