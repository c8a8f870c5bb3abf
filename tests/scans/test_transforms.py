import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirst, LoadImage

from pipeline.scans.preprocessing import preprocess_scan
from pipeline.scans.transforms import ScaleToPlan, ToNetworkGrid
from tests.scans.scan_making import blob, centered_affine, make_plan, random_linear

SHAPE = (24, 26, 28)


@pytest.fixture
def path(tmp_path):
    """A tilted scan with one bright spot."""
    linear = random_linear(np.random.default_rng(1))
    affine = centered_affine(2 * linear / np.linalg.norm(linear, axis=0), SHAPE, np.zeros(3))
    nib.save(nib.Nifti1Image(1000 * blob(SHAPE, affine, np.zeros(3), width_mm=8), affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_the_transforms_in_a_compose_do_what_preprocessing_does(path):
    plan = make_plan(crop="foreground", intensity={"scheme": "zscore"})
    image = Compose([LoadImage(), EnsureChannelFirst(), ToNetworkGrid(plan), ScaleToPlan(plan)])(path)
    prepared = preprocess_scan(path, plan)
    np.testing.assert_allclose(image[0].numpy(), prepared.array, atol=3e-4)
    np.testing.assert_allclose(image.affine.numpy(), prepared.affine, atol=1e-4)


def test_the_inverse_gives_the_original_back_where_it_was(path):
    original = Compose([LoadImage(), EnsureChannelFirst()])
    turned = ToNetworkGrid(make_plan(spacing_mm=(1, 1, 1), size_voxels=(80, 80, 80), tilt="straighten"))
    image = original(path)
    back = turned.inverse(turned(image))
    np.testing.assert_allclose(back.affine.numpy(), image.affine.numpy())
    assert np.abs(back[0].numpy() - image[0].numpy()).max() < 0.06 * float(image.max())


def test_several_channels_are_refused(path):
    image = Compose([LoadImage(), EnsureChannelFirst()])(path).repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match="expected one channel"):
        ToNetworkGrid(make_plan())(image)
