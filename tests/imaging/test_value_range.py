"""Values off the scale of their modality, or of their cohort, are found, and sound scans are not."""

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest

from pipeline.imaging.preprocessing import preprocess_scan
from pipeline.imaging.value_range import measure_range, off_scale, sample_values, scales_apart
from tests.imaging.scan_making import make_plan

RNG = np.random.default_rng(0)
AIR, FAT, TISSUE, BONE = (RNG.normal(mean, 15, 40_000) for mean in (-1000, -100, 45, 700))
BODY = np.concatenate([AIR, FAT[:10_000], TISSUE[:20_000], BONE[:3_000]])
"""A trunk in HU."""
BRAIN = np.concatenate([np.full(40_000, -1000.0), TISSUE])
"""Tissue alone, on a background of air."""


def pad(values: np.ndarray, padding: float) -> np.ndarray:
    """Outside the round field of view, where nothing was measured."""
    return np.concatenate([values, np.full(len(values) // 4, padding)])


SOUND = {
    "a trunk": BODY,
    "a trunk clipped at -1024": BODY.clip(-1000),
    "a trunk padded with -2000": pad(BODY, -2000),
    "a trunk padded with -3024": pad(BODY, -3024),
    "a lung": np.concatenate([AIR, RNG.normal(-850, 60, 40_000), TISSUE[:5_000]]),
    "a brain": BRAIN,
    "a heart with contrast": np.concatenate([FAT[:10_000], TISSUE, RNG.normal(400, 50, 15_000)]),
}
WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shifted up": lambda values: values + 1024,
    "shifted up and clipped at 0": lambda values: (values + 1024).clip(0),
    "shifted down": lambda values: values - 1024,
    "shifted up, then padded": lambda values: pad(values + 1024, -976),
    "windowed to a byte": lambda values: ((values + 160) / 400 * 255).clip(0, 255),
    "scaled to 0..1": lambda values: ((values + 1000) / 2000).clip(0, 1),
}


def reason(values: np.ndarray, modality: str) -> str | None:
    return off_scale(measure_range(sample_values(values)), modality)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_ct_is_on_the_scale_of_hounsfield_units(name: str) -> None:
    assert reason(SOUND[name], "CT") is None


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("scan", ["a trunk", "a trunk clipped at -1024"])
def test_a_ct_that_lost_its_rescale_is_off(name: str, scan: str) -> None:
    assert "expected HU" in reason(WRONG[name](SOUND[scan]), "CT")


def test_pet_in_becquerel_and_masks_of_several_values_are_off_and_mr_has_no_scale() -> None:
    suv = np.concatenate([np.zeros(50_000), RNG.gamma(2, 0.5, 50_000), RNG.uniform(2, 25, 500)])
    assert reason(suv, "PET") is None and "expected SUV" in reason(suv * 5000, "PET")
    mask = (BODY > 0).astype(np.uint8)
    assert reason(mask, "mask") is None and "a mask's two" in reason(mask + (BODY > 500), "mask")
    for values in (BODY, suv, suv * 5000, mask):
        assert reason(values, "MR") is None and reason(values, "other") is None


def test_two_groups_of_scans_whose_units_differ_are_named_and_scanners_are_not() -> None:
    image = RNG.gamma(2, 200, 50_000)
    scanners = {f"s{number}": measure_range(image * 1.4**number) for number in range(6)}
    assert scales_apart(scanners) is None and scales_apart({}) is None
    normalized = {f"n{number}": measure_range(image / image.max()) for number in range(4)}
    found = scales_apart(scanners | normalized)
    assert found.startswith("4 scans such as n0, n1, n2 with values like ") and "6 scans such as s0, s1, s2" in found


def test_a_scan_off_the_unit_of_the_plan_is_a_warning_of_its_preprocessing(tmp_path) -> None:
    body = np.full((40, 40, 40), -1000.0) + RNG.normal(0, 10, (40, 40, 40))
    body[10:30, 10:30, 10:30] += 1040
    plan = make_plan(intensity={"scheme": "window", "window_hu": (-160, 240)}, size_voxels=(32, 32, 32))
    for name, values, codes in (("sound", body, []), ("shifted", body + 1024, ["NII-SCALE"])):
        path = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(values.astype(np.int16), np.eye(4)), path)
        assert [text.split("[")[-1].strip("]") for text in preprocess_scan(path, plan).warnings] == codes
