"""A scan far from its cohort is named with what is far and what is expected; variation of scanners is not."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.imaging.reference_range import ScanMeasures, find_unusual, measure, reference_ranges
from pipeline.imaging.value_range import ValueRange

RNG = np.random.default_rng(0)


def mr(gain: float = 1.0, low: float = 20.0) -> ValueRange:
    return ValueRange(0.0, low * gain, 300 * gain, 1000 * gain, False)


def cohort(num_scans: int = 40) -> list[ScanMeasures]:
    """Axial MR of several scanners: 0.8 to 1.1 mm, slices of 3 mm, gains that differ four times."""
    return [
        measure((256, 240, 60), (*RNG.uniform(0.8, 1.1, 2), 3.0), "LPS", mr(RNG.uniform(0.5, 2)))
        for _ in range(num_scans)
    ]


def scan(shape=(256, 240, 60), spacing=(0.9, 0.9, 3.0), orientation="LPS", values: ValueRange | None = None):
    return measure(shape, spacing, orientation, values or mr())


USUAL = scan()
REFERENCE = reference_ranges(cohort())
ODD = {
    "coarse": (scan(spacing=(0.9, 2.5, 3.0)), "voxel size in mm along back-front 2.5, expected 0.8"),
    "few slices": (scan((256, 240, 20)), "field of view in mm along foot-head 60, expected 180"),
    "sagittal": (scan((60, 240, 256), (3.0, 0.9, 0.9)), "voxel size in mm along left-right 3, expected"),
    "finer": (scan((640, 600, 60), (0.6, 0.6, 3.0)), "voxels along left-right 640, expected 256"),
    "other axes": (scan(orientation="RAS"), "axes RAS, expected LPS"),
    "normalized": (scan(values=mr(0.001)), "width of the range of values 0.98, expected"),
    "shifted": (scan(values=ValueRange(-1024, -1000, -700, 0, False)), "lowest values"),
    "a mask": (scan(values=ValueRange(0, 1, 1, 1, True)), "only two values (1)"),
}


def test_scans_of_the_cohort_are_usual_whatever_the_order_of_their_axes() -> None:
    assert not any(find_unusual(one, REFERENCE) for one in [USUAL, *cohort()])
    turned = scan((60, 256, 240), (3.0, 0.9, 0.9), "SLP")
    assert find_unusual(turned, REFERENCE.model_copy(update={"orientations": ("SLP",)})) is None


@pytest.mark.parametrize("name", ODD)
def test_what_is_far_outside_is_named_with_what_is_expected(name: str) -> None:
    odd, says = ODD[name]
    assert says in find_unusual(odd, REFERENCE)


def test_one_odd_scan_does_not_hide_itself_in_the_range_of_a_few() -> None:
    odd = replace(USUAL, numbers=USUAL.numbers | {"spacing_S": 9.0})
    reference = reference_ranges([*cohort(9), odd])
    assert "foot-head 9, expected 3" in find_unusual(odd, reference) and find_unusual(USUAL, reference) is None


def test_a_few_scans_have_no_range_and_masks_none_of_values() -> None:
    assert reference_ranges(cohort(7)) is None
    masks = reference_ranges(measure((64, 64, 64), (1, 1, 1), "RAS", ValueRange(0, 1, 1, 1, True)) for _ in range(8))
    assert "value_span" not in masks.ranges and masks.ranges["is_binary"] == (1, 1)
    assert "(1) or an image (0) 0, expected 1" in find_unusual(measure((64,) * 3, (1,) * 3, "RAS", mr()), masks)
