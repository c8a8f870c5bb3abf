"""Each rule about geometry, by itself."""

import numpy as np
import pytest
import torch

from pipeline.models.build import build_model
from pipeline.scans.planning.fingerprint import Geometry
from pipeline.scans.planning.rules import plan_crop, plan_orientation, plan_spacing, plan_stem, size_of


def geometry(shape, spacing, number=5):
    return Geometry(np.tile(shape, (number, 1)).astype(float), np.tile(spacing, (number, 1)).astype(float))


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1, 1, 1), "SPL"), ((1, 1, 2.9), "SPL"), ((1, 1, 5), "SPL"), ((1, 5, 1), "AIL"), ((5, 1, 1), "LIP")],
)
def test_slices_lie_along_the_coarsest_axis_of_anisotropic_scans(spacing, expected):
    assert plan_orientation(geometry((50, 50, 50), spacing)).value == expected


def test_a_coarse_axis_takes_its_tenth_percentile():
    spacing = np.array([[mm, 1.0, 1.0] for mm in (4, 5, 6, 7, 8)])
    few = Geometry(np.tile([20, 256, 256], (5, 1)), spacing)
    assert plan_spacing(few).value.tolist() == pytest.approx([4.4, 1, 1])
    many = Geometry(np.tile([200, 256, 256], (5, 1)), spacing)
    assert plan_spacing(many).value.tolist() == [6, 1, 1]


def test_nothing_is_cropped_where_the_body_fills_the_scan():
    scans = geometry((50, 50, 50), (2, 2, 2))
    assert plan_crop(scans, np.array([[95.0, 98.0, 100.0]])).value == "center"
    assert plan_crop(scans, np.array([[60.0, 98.0, 100.0]])).value == "foreground"


def test_sizes_cover_the_extent_in_multiples_of_eight():
    assert size_of(np.array([96.0, 97.0, 1.0]), np.array([2.0, 2.0, 2.0])).tolist() == [48, 56, 8]


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((64, 96, 48), (1, 1, 1), (4, 4, 4)),
        ((40, 96, 64), (1, 1, 1), (2, 4, 4)),
        ((24, 256, 256), (6, 1, 1), (1, 4, 4)),
        ((8, 40, 64), (1, 1, 1), (1, 2, 4)),
    ],
)
def test_the_stem_strides_less_along_short_and_coarse_axes(size, spacing, expected):
    assert plan_stem(size, spacing).value == expected


@pytest.mark.parametrize("size", [(16, 16, 16), (24, 24, 24), (40, 40, 40), (48, 48, 48), (16, 24, 48), (96, 40, 160)])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (6, 1, 1)])
def test_the_last_stage_of_the_network_has_two_tokens_an_axis(size, spacing):
    with torch.device("meta"):
        stem_stride = list(plan_stem(size, spacing).value)
        network = build_model("poolformer_s12", in_channels=1, num_classes=2, stem_stride=stem_stride)
        last = network.forward_stages(torch.empty(1, 1, *size)).stages[-1]
    assert min(last.shape[2:]) >= 2
