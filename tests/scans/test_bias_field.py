import subprocess
import sys

import numpy as np
import pytest

from pipeline.scans.bias_field import correct_bias
from pipeline.scans.preprocessing import preprocess_scan
from tests.scans.scan_making import make_plan

WITHOUT = """
import sys
sys.modules["SimpleITK"] = None
from pipeline.scans.bias_field import require_n4
require_n4()
"""


@pytest.fixture(scope="module")
def shaded() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of one tissue under a gain that doubles along the second axis, its body, and the corrected scan."""
    place = np.indices((36, 40, 32)) - np.array([18, 20, 16]).reshape(3, 1, 1, 1)
    body = (place**2).sum(0) < 14**2
    noise = np.random.default_rng(0).normal(0, 8, body.shape)
    scan = (body * (500 + noise) * np.exp2(place[1] / 28) + np.abs(noise)).astype(np.float32)
    return scan, body, correct_bias(scan)


def test_one_tissue_becomes_even(shaded):
    scan, body, corrected = shaded
    inner = body & (np.abs(np.indices(body.shape)[1] - 20) < 12)

    def unevenness(array: np.ndarray) -> float:
        return float(array[inner].std() / array[inner].mean())

    assert unevenness(corrected) < 0.35 * unevenness(scan)
    assert corrected.shape == scan.shape and corrected.dtype == np.float32


def test_the_same_scan_gives_the_same_bits(shaded):
    np.testing.assert_array_equal(correct_bias(shaded[0]), shaded[2])


def test_preprocessing_corrects_only_where_the_plan_asks(shaded, tmp_path):
    import nibabel as nib

    nib.save(nib.Nifti1Image(shaded[0], np.eye(4)), tmp_path / "scan.nii")
    common = {"orientation": "RAS", "spacing_mm": (1, 1, 1), "size_voxels": (36, 40, 32)}
    plain = preprocess_scan(tmp_path / "scan.nii", make_plan(**common)).array[0]
    even = preprocess_scan(tmp_path / "scan.nii", make_plan(**common, bias_correction="n4")).array[0]
    np.testing.assert_allclose(plain, shaded[0], atol=0.1)
    np.testing.assert_allclose(even, shaded[2], atol=0.1)


def test_a_missing_library_is_said_with_what_to_do():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert "bias_correction: n4 needs SimpleITK" in done.stderr and "pip install simpleitk" in done.stderr
