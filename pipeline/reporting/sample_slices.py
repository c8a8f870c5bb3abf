"""Sample slices: some development scans of each class as the network gets them, in pictures that the page carries."""

import base64
import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID
from pipeline.core.folds import is_development
from pipeline.explanation.overlay import VIEW_ALONG, plane_view, upright
from pipeline.reporting.inputs import CohortFacts
from pipeline.reporting.sections.cohort import memberships
from pipeline.store.store import Store

SCANS_A_CLASS = 5


@dataclass(frozen=True)
class Sample:
    """Slices of one class, as a data URI."""

    label: str
    image: str
    caption: str


def sample_slices(facts: CohortFacts, classes: list[str], store: Store) -> list[Sample]:
    """None where the store, the split or the plan is not there. Test scans are never shown."""
    if facts.splits is None or facts.plan is None:
        return []
    stored = set(store.scan_ids())
    shown = memberships(facts, facts.splits[is_development(facts.splits) & facts.splits[SCAN_ID].isin(stored)])
    drawn = {label: draw(shown[shown[LABEL] == label]) for label in classes}
    return [sample(label, scans, facts.plan, store) for label, scans in drawn.items() if scans]


def draw(rows: pd.DataFrame) -> list[str]:
    """Scans of different patients, in an order that says nothing about them."""
    first = rows.drop_duplicates(PATIENT_ID)[SCAN_ID]
    return sorted(first, key=lambda scan_id: hashlib.sha256(scan_id.encode()).hexdigest())[:SCANS_A_CLASS]


def sample(label: str, scan_ids: list[str], plan: dict, store: Store) -> Sample:
    volumes = [store.read(scan_id)[0][0] for scan_id in scan_ids]
    view = VIEW_ALONG[plan["orientation"][0]]
    caption = f"{label}: the middle {view} slice of {', '.join(scan_ids)}."
    return Sample(label, as_data_uri(draw_middles(volumes, plan["spacing_mm"], plan["orientation"])), caption)


def draw_middles(volumes: list[np.ndarray], spacing_mm: tuple[float, float, float], orientation: str) -> Figure:
    """Middle slices along D side by side, upright, each in grey of its own; of several images the first."""
    figure = Figure(figsize=(1.8 * SCANS_A_CLASS, 2.1), layout="constrained")
    panels = figure.subplots(1, SCANS_A_CLASS)
    for panel in panels:
        panel.axis("off")
    for panel, volume in zip(panels, volumes, strict=False):
        low, high = np.percentile(volume, (1, 99.5))
        plane = upright(volume, 0, len(volume) // 2, orientation)
        tones = {"vmin": low, "vmax": max(high, low + 1e-6)}
        panel.imshow(plane, cmap="gray", **tones, **plane_view(0, spacing_mm, orientation))
    return figure


def as_data_uri(figure: Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, dpi=100, format="png", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
