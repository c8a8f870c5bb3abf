from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from pydantic import TypeAdapter
from scipy import ndimage

from pipeline.config import Augmentation, Cohort, Plan
from pipeline.data.augmentation.pipeline import (
    augmentation_settings,
    augmentation_transforms,
    resolve_augmentation,
)
from pipeline.data.augmentation.registry import AUGMENTATIONS, INTENSITY, AugmentationSettings

SOURCE = {"kind": "folder", "scans": "scans", "table": "labels.csv"}


def settings_for(
    planned: str = "strong", orientation: str = "SPL", spacing_mm=(1.0, 1.0, 1.0), augmentation=None, **cohort
):
    content = {"name": "c", "source": SOURCE, "modality": "MR", "laterality": "irrelevant", **cohort}
    plan = Plan(
        orientation=orientation,
        spacing_mm=spacing_mm,
        size_voxels=(8, 8, 8),
        crop="center",
        intensity={"scheme": "unchanged"},
        batch_size=1,
        accumulate=1,
        max_epochs=1,
        augmentation=planned,
        reasons={},
    )
    cohort = TypeAdapter(Cohort).validate_python(content)
    resolved = resolve_augmentation(Augmentation(**(augmentation or {})), cohort, plan)
    return augmentation_settings(resolved, cohort, plan)


@pytest.mark.parametrize("strength", ["none", "light", "strong"])
def test_auto_is_the_plan_s_strength_and_the_config_s_beats_it(strength):
    assert settings_for(strength).strength == strength
    assert settings_for(strength, augmentation={"strength": "medium"}).strength == "medium"


@pytest.mark.parametrize(("orientation", "axis"), [("SPL", 2), ("RAS", 0), ("ARS", 1)])
def test_the_flip_is_along_left_and_right_wherever_that_axis_lies(orientation, axis):
    assert settings_for(orientation=orientation).flip_axis == axis


def test_where_laterality_matters_nothing_is_flipped_unless_asked():
    assert settings_for(laterality="relevant").flip_axis is None
    assert settings_for(laterality="relevant", augmentation={"flip_left_right": True}).flip_axis == 2
    assert settings_for(augmentation={"flip_left_right": False}).flip_axis is None


def test_size_changes_only_where_it_is_not_diagnostic_unless_asked():
    assert not settings_for().is_deformable
    assert settings_for(size_is_diagnostic=False).is_deformable
    assert settings_for(augmentation={"zoom": True}).is_deformable


@pytest.mark.parametrize(
    ("spacing_mm", "axes"),
    [((1.0, 1.0, 1.0), (0, 1, 2)), ((2.9, 1.0, 1.0), (0, 1, 2)), ((3.0, 1.0, 1.0), (0,)), ((1.0, 4.0, 1.0), (1,))],
)
def test_stacks_of_slices_are_rotated_in_plane_only(spacing_mm, axes):
    assert settings_for(spacing_mm=spacing_mm).rotation_axes == axes


def test_the_modality_decides_about_intensities_and_artifacts():
    assert settings_for().is_mr and not settings_for().is_mask
    assert settings_for(modality="mask").is_mask and not settings_for(modality="mask").is_mr
    assert not settings_for(modality="CT").is_mr


VOLUME = torch.from_numpy(
    ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(16, 18, 20)), 2).astype(np.float32)
)[None]
FULL = AugmentationSettings(strength="strong", spacing_mm=(1.0, 1.0, 1.0), flip_axis=2, is_deformable=True, is_mr=True)


def outcomes(settings: AugmentationSettings, volume: torch.Tensor = VOLUME, number: int = 40) -> list[torch.Tensor]:
    augment = augmentation_transforms(settings)
    return [augment.set_random_state(seed=seed)(volume) for seed in range(number)]


def share_changed(settings: AugmentationSettings) -> float:
    return float(np.mean([not torch.equal(changed, VOLUME) for changed in outcomes(settings, number=200)]))


def test_none_changes_nothing():
    assert share_changed(replace(FULL, strength="none")) == 0


def test_strength_says_how_often():
    light, medium, strong = (
        share_changed(replace(FULL, strength=strength, flip_axis=None)) for strength in ("light", "medium", "strong")
    )
    assert light < medium < strong


def test_the_same_random_numbers_give_the_same_bits_and_the_input_stays():
    before = VOLUME.clone()
    first, second = outcomes(FULL), outcomes(FULL)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert torch.equal(VOLUME, before)


def test_every_outcome_is_a_finite_float32_volume_of_the_same_shape():
    for changed in outcomes(FULL, number=100):
        assert changed.shape == VOLUME.shape and changed.dtype == torch.float32 and changed.isfinite().all()


def test_masks_only_move():
    mask = (VOLUME > 0.05).float()
    settings = AugmentationSettings(
        strength="strong", spacing_mm=(1.0, 1.0, 1.0), flip_axis=2, is_mask=True, is_mr=True
    )
    for changed in outcomes(settings, mask, number=100):
        assert changed.min() > -1e-5 and changed.max() < 1 + 1e-5
        assert float(changed.sum()) == pytest.approx(float(mask.sum()), rel=0.35)


@pytest.mark.parametrize("axis", [None, 2])
def test_flips_happen_only_where_they_are_allowed_and_in_half_of_the_scans(axis):
    settings = AugmentationSettings(strength="light", spacing_mm=(1.0, 1.0, 1.0), flip_axis=axis, is_mask=True)
    mirrored = [torch.equal(changed, VOLUME.flip(3)) for changed in outcomes(settings, number=300)]
    assert (sum(mirrored) > 60) == (axis is not None)


def test_thick_slices_are_never_mixed():
    slices = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 12, 12).contiguous()
    settings = AugmentationSettings(strength="strong", spacing_mm=(5.0, 1.0, 1.0), rotation_axes=(0,), is_mask=True)
    for changed in outcomes(settings, slices):
        torch.testing.assert_close(changed, slices, atol=1e-4, rtol=0)


def test_channels_move_together_and_differ_in_intensity_alone():
    pair = VOLUME.repeat(2, 1, 1, 1)
    moving = replace(FULL, num_images=2, is_mask=True, crop_share=0.2)
    assert all(torch.equal(changed[0], changed[1]) for changed in outcomes(moving, pair))
    assert any(not torch.equal(changed[0], changed[1]) for changed in outcomes(replace(moving, is_mask=False), pair))


def test_missing_channels_and_what_says_so_stay_as_they_are():
    scan = torch.cat([VOLUME, torch.zeros_like(VOLUME), torch.ones_like(VOLUME), torch.zeros_like(VOLUME)])
    settings = replace(FULL, num_images=2, crop_share=0.2)
    for changed in outcomes(settings, scan, number=100):
        assert torch.equal(changed[1:], scan[1:])


def test_the_state_decides_alone_and_a_meta_tensor_keeps_its_grid():
    affine = torch.diag(torch.tensor([2.0, 1, 1, 1], dtype=torch.float64))
    augment = augmentation_transforms(FULL)
    plain = augment.set_random_state(seed=5)(VOLUME)
    augment(VOLUME)
    traced = augment.set_random_state(seed=5)(MetaTensor(VOLUME, affine=affine))
    assert torch.equal(traced.as_tensor(), plain) and torch.equal(traced.affine, affine)


def test_every_augmentation_is_made_as_often_as_its_entry_says():
    for entry in AUGMENTATIONS.entries():
        (transform,) = [
            transform
            for transform in augmentation_transforms(replace(FULL, crop_share=0.2)).transforms
            if transform.entry is entry
        ]
        made = 0
        for seed in range(200):
            transform.set_random_state(seed=seed)
            transform(VOLUME)
            made += transform._do_transform
        assert made == pytest.approx(200 * entry.prob, abs=28), entry.name


def test_a_registered_augmentation_is_made_where_it_applies(monkeypatch):
    monkeypatch.setattr(AUGMENTATIONS, "_entries", dict(AUGMENTATIONS._loaded()))
    AUGMENTATIONS.register(
        "negate", title="negative", kind=INTENSITY, prob=1.0, applies=lambda settings: settings.is_mr
    )(lambda volume, rng: -volume)
    quiet = replace(FULL, strength="light", flip_axis=None)
    names = [transform.entry.name for transform in augmentation_transforms(quiet).transforms]
    assert names[-1] == "negate"
    assert "negate" not in [t.entry.name for t in augmentation_transforms(replace(quiet, is_mr=False)).transforms]
    assert "negate" not in [t.entry.name for t in augmentation_transforms(replace(quiet, is_mask=True)).transforms]
