"""Rules about geometry, one at a time."""

import numpy as np
import pytest

from pipeline.planning.fingerprint import Geometry
from pipeline.planning.preprocessing_rules import covering_size, plan_crop, plan_orientation, plan_spacing


def geometry(shape, spacing, number=5):
    return Geometry(np.tile(shape, (number, 1)).astype(float), np.tile(spacing, (number, 1)).astype(float))


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1, 1, 1), "SPL"), ((1, 1, 2.9), "SPL"), ((1, 1, 5), "SPL"), ((1, 5, 1), "AIL"), ((5, 1, 1), "LIP")],
)
def test_slices_of_anisotropic_scans_follow_their_coarsest_axis(spacing, expected):
    assert plan_orientation(geometry((50, 50, 50), spacing)).value == expected


def test_a_coarse_axis_takes_its_tenth_percentile():
    spacing = np.array([[mm, 1.0, 1.0] for mm in (4, 5, 6, 7, 8)])
    few = Geometry(np.tile([20, 256, 256], (5, 1)), spacing)
    assert plan_spacing(few).value.tolist() == pytest.approx([4.4, 1, 1])
    many = Geometry(np.tile([200, 256, 256], (5, 1)), spacing)
    assert plan_spacing(many).value.tolist() == [6, 1, 1]


def test_nothing_is_cropped_if_the_body_fills_the_scan():
    scans = geometry((50, 50, 50), (2, 2, 2))
    assert plan_crop(scans, np.array([[95.0, 98.0, 100.0]])).value == "center"
    assert plan_crop(scans, np.array([[60.0, 98.0, 100.0]])).value == "foreground"


def test_sizes_cover_the_extent_in_multiples_of_eight():
    assert covering_size(np.array([96.0, 97.0, 1.0]), np.array([2.0, 2.0, 2.0])).tolist() == [48, 56, 8]
