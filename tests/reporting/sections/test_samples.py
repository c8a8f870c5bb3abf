"""Sample slices on the cohort page."""

import base64
import re
from io import BytesIO

import numpy as np
from matplotlib.image import imread

from pipeline.reporting.sections.samples import SCANS_PER_CLASS
from tests.reporting.example_pages import cohort_inputs, cohort_page


def test_sample_slices_are_of_development_scans_and_keep_left_on_the_left(store):
    html = cohort_page(cohort_inputs(), store.folder)
    captions = re.findall(r"<figcaption>(\w+): the middle axial slice of ([^.]*)\.", html)
    assert [label for label, _ in captions] == ["healthy", "disease"]
    scans = [scan for _, named in captions for scan in named.split(", ")]
    assert len(scans) == len(set(scans)) == SCANS_PER_CLASS + 3
    assert all(int(scan[1:]) < 18 for scan in scans)
    picture = imread(BytesIO(base64.b64decode(html.split("data:image/png;base64,")[1].split('"')[0])))
    gray = picture[picture.shape[0] // 2, : picture.shape[1] // SCANS_PER_CLASS, 0]
    inside = gray[np.flatnonzero(gray < 0.5).min() :]
    assert inside[0] < 0.2 and inside[: len(inside) // 2].mean() < inside[len(inside) // 3 :].mean()
