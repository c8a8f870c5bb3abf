import sys

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import RandGaussianNoise

from pipeline.config.transform_spec import TransformSpec
from pipeline.imaging.extra_transforms import array_transforms, build_extra, not_invertible, own_names
from pipeline.imaging.preprocessing import map_on_scan, preprocess_scan
from pipeline.imaging.transforms import scan_transforms
from tests.imaging.scan_making import make_plan

OWN = "class Double:\n    def __init__(self, times: int = 2):\n        self.times = times\n"
OWN += "    def __call__(self, image):\n        return image * self.times\n"


def extra(*entries, own_modules=frozenset()):
    return build_extra([TransformSpec(**entry) for entry in entries], own_modules, where="augmentation.extra")


@pytest.fixture
def scan(tmp_path):
    array = np.random.default_rng(0).gamma(2, 100, (20, 22, 24)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.diag([-2.0, 2.0, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_transforms.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_transforms.Double"
    sys.modules.pop("my_transforms", None)


def test_a_name_and_its_arguments_become_that_transform_of_monai():
    (noise,) = extra({"name": "RandGaussianNoise", "prob": 0.2, "std": 0.3})
    assert isinstance(noise, RandGaussianNoise) and (noise.prob, noise.std) == (0.2, 0.3)
    assert len(array_transforms()) > 100


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "RandGausianNoise"}, r"extra\[0\]: unknown transform.*Did you mean 'RandGaussianNoise'"),
        ({"name": "RandGaussianNoised"}, "Use 'RandGaussianNoise': it is applied to the image"),
        ({"name": "RandGaussianNoise", "probb": 1}, "has no argument 'probb'. Did you mean 'prob'"),
        ({"name": "Resize"}, "Resize needs spatial_size"),
        ({"name": "SaveImage"}, "reads or writes files"),
        ({"name": "Lambda", "func": "print"}, "takes code"),
        ({"name": "Compose", "transforms": []}, "unknown transform 'Compose'"),
        ({"name": "os.system", "command": "touch x"}, "never imported because a checkpoint names it"),
        ({"name": "RandGaussianNoise", "prob": "often"}, "rejects its arguments"),
    ],
)
def test_what_cannot_be_a_transform_is_one_clear_error(entry, says):
    with pytest.raises(ValueError, match=says):
        extra(entry)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "$__import__('os').system('touch x')"},
        {"name": "GaussianSmooth", "sigma": "$1 + 1"},
        {"name": "GaussianSmooth", "sigma": ["@other"]},
        {"name": "GaussianSmooth", "sigma": {"a": "%file.json"}},
    ],
)
def test_nothing_that_monai_would_evaluate_is_taken(entry):
    with pytest.raises(ValueError, match="nothing in a config is evaluated"):
        TransformSpec(**entry)


def test_preprocessing_applies_the_extra_transforms_to_what_is_stored(scan):
    plan = make_plan(extra=({"name": "ScaleIntensity", "minv": 0.0, "maxv": 4.0},))
    plain, scaled = preprocess_scan(scan, make_plan()).array, preprocess_scan(scan, plan).array
    expected = 4 * (plain - plain.min()) / (plain.max() - plain.min())
    np.testing.assert_allclose(scaled, expected, atol=1e-3)


def test_what_can_be_inverted_is_and_what_cannot_is_named(scan):
    specs = ({"name": "Flip", "spatial_axis": 1}, {"name": "GaussianSmooth", "sigma": 0.01})
    plan = make_plan(spacing_mm=(2, 2, 2), size_voxels=(30, 30, 30), extra=specs)
    assert not_invertible(plan.extra, frozenset()) == ["GaussianSmooth"]
    transforms = scan_transforms(plan)
    prepared = preprocess_scan(scan, plan, transforms)
    unflipped = preprocess_scan(scan, make_plan(size_voxels=(30, 30, 30))).array
    np.testing.assert_allclose(prepared.array, np.flip(unflipped, 2), atol=1)
    back = map_on_scan(prepared.array[0], prepared, transforms).get_fdata()
    np.testing.assert_allclose(back, nib.load(scan).get_fdata(), atol=1)


def test_random_and_reshaping_transforms_are_rejected_in_preprocessing(scan):
    with pytest.raises(ValueError, match="preprocess.extra: RandGaussianNoise is random.*augmentation.extra"):
        scan_transforms(make_plan(extra=({"name": "RandGaussianNoise"},)))
    plan = make_plan(extra=({"name": "Resize", "spatial_size": [8, 8, 8]},))
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: Resize changes the shape .* to \(1, 8, 8, 8\)"):
        preprocess_scan(scan, plan)


def test_a_transform_of_ones_own_is_imported_only_if_a_local_file_names_it(scan, own_module):
    plan = make_plan(extra=({"name": own_module, "times": 4},))
    with pytest.raises(ValueError, match="--own-transforms my_transforms.Double"):
        scan_transforms(plan)
    assert "my_transforms" not in sys.modules
    transforms = scan_transforms(plan, own_modules=own_names(plan.extra))
    np.testing.assert_array_equal(
        preprocess_scan(scan, plan, transforms).array, 4 * preprocess_scan(scan, make_plan()).array
    )
    with pytest.raises(ValueError, match="no transform 'my_transforms.Missing'"):
        extra({"name": "my_transforms.Missing"}, own_modules=frozenset(["my_transforms.Missing"]))
    with pytest.raises(ValueError, match="has no argument 'time'. Did you mean 'times'"):
        extra({"name": own_module, "time": 3}, own_modules=frozenset([own_module]))
