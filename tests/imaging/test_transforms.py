import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirst, LoadImage

from pipeline.core.io import write_yaml
from pipeline.imaging.intensity import correct_bias, to_standards
from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.imaging.transforms import CorrectBias, MatchHistogram, ScaleToPlan, ToNetworkGrid
from tests.imaging.scan_making import blob, centered_affine, make_plan, random_linear

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
    np.testing.assert_allclose(image.numpy(), prepared.array, atol=3e-4)
    np.testing.assert_allclose(image.affine.numpy(), prepared.affine, atol=1e-4)


def test_a_compose_pads_a_scan_without_empty_space_as_preprocessing_does(tmp_path):
    tissue = np.random.default_rng(0).normal(400, 60, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(tissue, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    plan = make_plan(size_voxels=(40, 40, 40), intensity={"scheme": "zscore"})
    image = Compose([LoadImage(), EnsureChannelFirst(), ToNetworkGrid(plan), ScaleToPlan(plan)])(
        tmp_path / "scan.nii.gz"
    )
    np.testing.assert_allclose(image.numpy(), preprocess_scan(tmp_path / "scan.nii.gz", plan).array, atol=3e-4)
    assert np.isfinite(image.numpy()).all()


def test_the_inverse_gives_the_original_back_where_it_was(path):
    original = Compose([LoadImage(), EnsureChannelFirst()])
    turned = ToNetworkGrid(make_plan(spacing_mm=(1, 1, 1), size_voxels=(80, 80, 80), tilt="straighten"))
    image = original(path)
    back = turned.inverse(turned(image))
    np.testing.assert_allclose(back.affine.numpy(), image.affine.numpy())
    assert np.abs(back[0].numpy() - image[0].numpy()).max() < 0.06 * float(image.max())


def test_the_inverse_of_a_scan_without_empty_space_is_whole(tmp_path):
    tissue = np.random.default_rng(0).normal(400, 10, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(tissue, np.eye(4)), tmp_path / "scan.nii.gz")
    image = Compose([LoadImage(), EnsureChannelFirst()])(tmp_path / "scan.nii.gz")
    step = ToNetworkGrid(make_plan(spacing_mm=(1.5, 1.5, 1.5), size_voxels=(40, 40, 40)))
    back = step.inverse(step(image))[0].numpy()
    np.testing.assert_allclose(back, tissue, atol=60)


def test_a_whole_compose_puts_what_was_prepared_back_onto_the_scan(path):
    plan = make_plan(spacing_mm=(1, 1, 1), size_voxels=(80, 80, 80), tilt="straighten", intensity={"scheme": "rescale"})
    original = Compose([LoadImage(), EnsureChannelFirst()])(path)
    steps = Compose([LoadImage(), EnsureChannelFirst(), ToNetworkGrid(plan), ScaleToPlan(plan)])
    back = steps.inverse(steps(path))
    assert back.shape == original.shape
    np.testing.assert_allclose(back.affine.numpy(), original.affine.numpy())
    # Not 1, because the scheme clips at percentiles.
    assert np.corrcoef(back.numpy().ravel(), original.numpy().ravel())[0, 1] > 0.95


def test_bias_and_histogram_do_in_a_compose_what_they_do_alone(path):
    image = Compose([LoadImage(), EnsureChannelFirst()])(path)
    np.testing.assert_array_equal(CorrectBias()(image)[0].numpy(), correct_bias(image[0].numpy()))
    plan = make_plan(intensity={"scheme": "histogram"})
    standards = (tuple(np.linspace(0.2, 0.9, 9).tolist()),)
    matched = Compose([ToNetworkGrid(plan), ScaleToPlan(plan), MatchHistogram(standards)])(image)
    expected = Compose([ToNetworkGrid(plan), ScaleToPlan(plan)])(image).numpy()
    to_standards(expected, standards)
    np.testing.assert_array_equal(matched.numpy(), expected)


def test_channels_share_a_grid_and_are_scaled_each_by_itself(path):
    plan = make_plan(crop="foreground", intensity={"scheme": "zscore"})
    image = Compose([LoadImage(), EnsureChannelFirst()])(path)
    both = torch.cat([image, 7 * image + 50])
    steps = Compose([ToNetworkGrid(plan), ScaleToPlan(plan)])
    one, two = steps(image), steps(both)
    np.testing.assert_allclose(two.affine.numpy(), one.affine.numpy())
    np.testing.assert_allclose(two.numpy(), one.repeat(2, 1, 1, 1).numpy(), atol=2e-3)


def test_the_example_of_the_docs_prepares_a_scan_and_puts_it_back(path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"## As MONAI transforms\n\n```python\n(.*?)```", page, re.DOTALL)
    plan = make_plan(intensity={"scheme": "zscore"})
    write_yaml(path.parent / "data" / "NAME" / "plan.yaml", plan.model_dump(mode="json"))
    monkeypatch.chdir(path.parent)
    shown = {}
    exec(example.replace("scan.nii.gz", path.name), shown)
    np.testing.assert_allclose(shown["image"].numpy(), preprocess_scan(path, plan).array, atol=3e-4)
    # Read with its fastest axis last: the same grid with its axes in the other order.
    assert shown["on_the_scan"].shape[1:] == SHAPE[::-1]
    np.testing.assert_allclose(shown["on_the_scan"].affine[:, [2, 1, 0, 3]], nib.load(path).affine, atol=1e-5)


def test_an_image_without_channels_is_refused(path):
    with pytest.raises(ValueError, match=r"expected channels and three axes.*got shape \(24, 26, 28\)"):
        ToNetworkGrid(make_plan())(LoadImage()(path))
