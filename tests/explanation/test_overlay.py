"""Whichever way a volume's axes run, pictures are the right way up and sided as radiologists expect."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from pipeline.explanation.overlay import plane_view, upright

SHAPE_RAS, SPACING_RAS = (5, 6, 7), (1.0, 2.0, 4.0)
RAS = np.arange(np.prod(SHAPE_RAS)).reshape(SHAPE_RAS)
"""Each voxel its own number, axes to the right, front and head."""
EXPECTED = {
    "axial": lambda at: RAS[::-1, ::-1, at].T,
    "coronal": lambda at: RAS[::-1, at, ::-1].T,
    "sagittal": lambda at: RAS[at, ::-1, ::-1].T,
}
"""By hand: head or front at the top, the patient's left at the right, a profile that faces left."""
ACROSS = {"axial": 2, "coronal": 1, "sagittal": 0}
ORIENTATIONS = ["".join(pairs) for axes in permutations(("RL", "AP", "SI")) for pairs in product(*axes)]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_gives_the_same_upright_planes(orientation):
    change = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    volume = nib.apply_orientation(RAS, change)
    for view, across in ACROSS.items():
        ends = "RL" if across == 0 else "AP" if across == 1 else "SI"
        axis = next(number for number, code in enumerate(orientation) if code in ends)
        index = 2 if orientation[axis] == ends[0] else SHAPE_RAS[across] - 3
        np.testing.assert_array_equal(upright(volume, axis, index, orientation), EXPECTED[view](2))


@pytest.mark.parametrize(("view", "aspect"), [("axial", 2 / 1), ("coronal", 4 / 1), ("sagittal", 4 / 2)])
def test_planes_are_drawn_true_to_the_scans_proportions(view, aspect):
    for orientation in ORIENTATIONS:
        order = ["RL" if code in "RL" else "AP" if code in "AP" else "SI" for code in orientation]
        spacing = [dict(zip(("RL", "AP", "SI"), SPACING_RAS, strict=True))[ends] for ends in order]
        axis = order.index(("RL", "AP", "SI")[ACROSS[view]])
        assert plane_view(axis, spacing, orientation)["aspect"] == aspect
