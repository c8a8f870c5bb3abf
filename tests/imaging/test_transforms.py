import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from pipeline.core.io import write_yaml
from pipeline.imaging.intensity import MatchHistogram, correct_bias, to_standards
from pipeline.imaging.preprocessing import map_on_scan, preprocess_scan
from pipeline.imaging.transforms import (
    CorrectBiasFieldd,
    ResampleToPland,
    scan_transforms,
    volume_transforms,
)
from pipeline.store.store import Store
from tests.imaging.scan_making import blob, centered_affine, make_plan, prepare, random_linear

SHAPE = (24, 26, 28)


@pytest.fixture
def path(tmp_path):
    """A tilted scan with one bright spot."""
    linear = random_linear(np.random.default_rng(1))
    affine = centered_affine(2 * linear / np.linalg.norm(linear, axis=0), SHAPE, np.zeros(3))
    nib.save(nib.Nifti1Image(1000 * blob(SHAPE, affine, np.zeros(3), width_mm=8), affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def without_empty_space(tmp_path):
    """Tissue up to the edges."""
    tissue = np.random.default_rng(0).normal(400, 60, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(tissue, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_the_stored_scan_has_the_bits_that_the_compose_gives(path, tmp_path):
    plan = make_plan(crop="foreground", intensity={"scheme": "zscore"})
    prepared = preprocess_scan(path, plan)
    image = scan_transforms(plan)({"image": path})["image"]
    Store(tmp_path / "store").write(
        "scan", prepared.array, prepared.affine, source_sha256="a", plan_sha256="b", code_sha256="c"
    )
    stored, affine = Store(tmp_path / "store").read("scan")
    assert isinstance(image, MetaTensor) and stored.dtype == np.float32
    np.testing.assert_array_equal(image.numpy(), stored)
    np.testing.assert_allclose(image.affine.numpy(), affine, atol=1e-4)


@pytest.mark.parametrize("scan", ["path", "without_empty_space"])
def test_monais_own_reader_in_front_gives_the_same_up_to_rounding(scan, request):
    scan = request.getfixturevalue(scan)
    plan = make_plan(size_voxels=(40, 40, 40), intensity={"scheme": "zscore"})
    load = [LoadImaged("image", image_only=True), EnsureChannelFirstd("image")]
    image = Compose([*load, *volume_transforms(plan)])({"image": scan})["image"]
    prepared = preprocess_scan(scan, plan)
    np.testing.assert_allclose(image.numpy(), prepared.array, atol=3e-4)
    np.testing.assert_allclose(image.affine.numpy(), prepared.affine, atol=1e-4)
    assert np.isfinite(image.numpy()).all()


def test_one_compose_serves_many_scans(path, without_empty_space):
    plan = make_plan(intensity={"scheme": "rescale"})
    transforms = scan_transforms(plan)
    for scan in (path, without_empty_space, path):
        again = preprocess_scan(scan, plan, transforms).array
        np.testing.assert_array_equal(again, preprocess_scan(scan, plan).array)


def test_the_inverse_gives_the_original_back_in_its_place(path):
    plan = make_plan(spacing_mm=(1, 1, 1), size_voxels=(80, 80, 80), tilt="straighten")
    transforms = scan_transforms(plan)
    back = transforms.inverse(transforms({"image": path}))["image"]
    original = nib.load(path)
    np.testing.assert_allclose(back.affine.numpy()[:, [2, 1, 0, 3]], original.affine, atol=1e-5)
    voxels = original.get_fdata()
    assert np.abs(back[0].numpy().T - voxels).max() < 0.06 * voxels.max()


def test_the_inverse_of_a_scan_without_empty_space_is_whole(without_empty_space):
    load = Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image")])
    step = ResampleToPland("image", make_plan(spacing_mm=(1.5, 1.5, 1.5), size_voxels=(60, 60, 60)))
    sample = load({"image": without_empty_space})
    back = step.inverse(step(sample))["image"][0].numpy()
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back, sample["image"][0].numpy(), atol=420)
    assert np.corrcoef(back.ravel(), sample["image"][0].numpy().ravel())[0, 1] > 0.7


@pytest.mark.parametrize("seed", range(6))
def test_a_map_of_the_network_returns_to_its_place_on_any_scan(tmp_path, seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(20, 40, 3).tolist())
    affine = centered_affine(random_linear(rng), shape, rng.normal(0, 30, 3))
    spot = affine[:3, :3] @ ((np.array(shape) - 1) * rng.uniform(0.35, 0.65, 3)) + affine[:3, 3]
    nib.save(nib.Nifti1Image(1000 * blob(shape, affine, spot), affine), tmp_path / "scan.nii.gz")
    plan = make_plan(size_voxels=(64, 64, 64), spacing_mm=(1.5, 1.5, 1.5))
    transforms = scan_transforms(plan)
    prepared = preprocess_scan(tmp_path / "scan.nii.gz", plan, transforms)
    evidence = prepared.array[0] / prepared.array.max()
    found = map_on_scan(evidence, prepared, transforms)
    assert found.shape == shape
    np.testing.assert_allclose(found.affine, affine, atol=1e-4)
    peak = np.unravel_index(found.get_fdata().argmax(), shape)
    assert np.linalg.norm(affine[:3, :3] @ peak + affine[:3, 3] - spot) < 3.5


def test_bias_and_histogram_do_in_a_compose_what_they_do_alone(path):
    sample = Compose([LoadImaged("image", image_only=True), EnsureChannelFirstd("image")])({"image": path})
    corrected = CorrectBiasFieldd("image")(sample)["image"][0].numpy()
    np.testing.assert_allclose(corrected, correct_bias(sample["image"][0].numpy().T).T, rtol=1e-6)
    plan = make_plan(intensity={"scheme": "histogram"})
    standards = (tuple(np.linspace(0.2, 0.9, 9).tolist()),)
    expected = preprocess_scan(path, plan).array.copy()
    matched = MatchHistogram(standards)(torch.from_numpy(expected.copy()))
    to_standards(expected, standards)
    np.testing.assert_array_equal(matched.numpy(), expected)


def test_channels_share_a_grid_and_are_scaled_each_by_itself(path):
    plan = make_plan(crop="foreground", intensity={"scheme": "zscore"})
    scan = nib.load(path)
    image = scan.get_fdata().astype(np.float32)
    one = prepare([image], scan.affine, plan)
    two = prepare([image, 7 * image + 50], scan.affine, plan)
    np.testing.assert_allclose(two.affine, one.affine)
    np.testing.assert_allclose(two.array, np.repeat(one.array, 2, axis=0), atol=2e-3)


def test_the_example_of_the_docs_preprocesses_a_scan_and_puts_it_back(path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"## As MONAI transforms\n\n```python\n(.*?)```", page, re.DOTALL)
    plan = make_plan(intensity={"scheme": "zscore"})
    write_yaml(path.parent / "data" / "NAME" / "plan.yaml", plan.model_dump(mode="json"))
    monkeypatch.chdir(path.parent)
    shown = {}
    exec(example.replace("scan.nii.gz", path.name), shown)
    np.testing.assert_array_equal(shown["image"].numpy(), preprocess_scan(path, plan).array)
    # Read with its fastest axis last: the same grid with its axes in the other order.
    assert shown["on_the_scan"].shape[1:] == SHAPE[::-1]
    np.testing.assert_allclose(shown["on_the_scan"].affine[:, [2, 1, 0, 3]], nib.load(path).affine, atol=1e-5)


def test_an_image_without_channels_is_rejected(path):
    sample = LoadImaged("image", image_only=True)({"image": path})
    with pytest.raises(ValueError, match=r"expected channels and three axes.*got shape \(24, 26, 28\)"):
        ResampleToPland("image", make_plan())(sample)
