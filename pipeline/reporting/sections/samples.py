"""The section of sample slices: some development scans of each class as the network receives them."""

import base64
import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID
from pipeline.core.folds import is_development
from pipeline.explanation.overlay import VIEW_ALONG, gray_range, plane_view, upright
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS
from pipeline.store.store import Store

SCANS_PER_CLASS = 5
TEMPLATE = """
<p>Development scans drawn at random, as the network receives them; test scans are not shown.</p>
{% for sample in content %}
<figure><img src="{{ sample.image }}" alt="{{ sample.caption }}"><figcaption>{{ sample.caption }}</figcaption></figure>
{% endfor %}
"""


@dataclass(frozen=True)
class Sample:
    """Slices of scans of one class, as a data URI."""

    label: str
    image: str
    caption: str


@SECTIONS.register(
    "slices",
    title="Sample slices",
    page="cohort",
    template=TEMPLATE,
    missing="preprocessed scans; 'python -m pipeline.preprocess' writes them.",
)
def read_samples(inputs: ReportInputs) -> list[Sample] | None:
    """None without stored scans, split or plan."""
    cohort, store = inputs.cohort, inputs.store
    if cohort.splits is None or cohort.plan is None:
        return None
    stored = set(store.scan_ids())
    development = cohort.splits[is_development(cohort.splits) & cohort.splits[SCAN_ID].isin(stored)]
    shown = cohort.memberships(development)
    drawn = {label: draw_scans(shown[shown[LABEL] == label]) for label in cohort.classes}
    return [sample(label, scans, cohort.plan, store) for label, scans in drawn.items() if scans] or None


def draw_scans(rows: pd.DataFrame) -> list[str]:
    """Scans of different patients, in an order that is independent of their content."""
    first = rows.drop_duplicates(PATIENT_ID)[SCAN_ID]
    return sorted(first, key=lambda scan_id: hashlib.sha256(scan_id.encode()).hexdigest())[:SCANS_PER_CLASS]


def sample(label: str, scan_ids: list[str], plan: dict, store: Store) -> Sample:
    volumes = [store.read(scan_id)[0][0] for scan_id in scan_ids]
    view = VIEW_ALONG[plan["orientation"][0]]
    caption = f"{label}: the middle {view} slice of {', '.join(scan_ids)}."
    return Sample(label, as_data_uri(draw_middle_slices(volumes, plan["spacing_mm"], plan["orientation"])), caption)


def draw_middle_slices(
    volumes: list[NDArray[np.float32]], spacing_mm: tuple[float, float, float], orientation: str
) -> Figure:
    """The middle slices along D of (D, H, W) volumes side by side, upright, each with its own gray range."""
    figure = Figure(figsize=(1.8 * SCANS_PER_CLASS, 2.1), layout="constrained")
    panels = figure.subplots(1, SCANS_PER_CLASS)
    for panel in panels:
        panel.axis("off")
    for panel, volume in zip(panels, volumes, strict=False):
        plane = upright(volume, 0, len(volume) // 2, orientation)
        panel.imshow(plane, cmap="gray", **gray_range(volume), **plane_view(0, spacing_mm, orientation))
    return figure


def as_data_uri(figure: Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, dpi=100, format="png", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
