"""The section of explanations: attribution maps over the scans of the most confident right and wrong predictions."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import SECTIONS

TEMPLATE = """
<p>Where in the scan the evidence for a class is, for the most confident right and wrong predictions. A map shows what
the network reacts to; it proves neither a cause nor that the reaction is sound.</p>
<div class="figures wide">
{% for item in content %}
<figure>{% if item.image %}<img src="{{ item.image }}" alt="{{ item.caption }}">{% else %}
{{ missing("the image of this scan.") }}{% endif %}<figcaption>{{ item.caption }}</figcaption></figure>
{% endfor %}
</div>
"""


@dataclass(frozen=True)
class Explanation:
    """An image as a data URI, None if its file is missing."""

    image: str | None
    caption: str


@SECTIONS.register(
    "explanations",
    title="Explanations",
    template=TEMPLATE,
    missing="explanation maps; 'python -m pipeline.explain' draws them.",
)
def read_explanations(inputs: ReportInputs) -> list[Explanation] | None:
    run = inputs.run
    return [read_explanation(entry, run.explanations_folder) for entry in run.explanations or []] or None


def read_explanation(entry: dict[str, Any], folder: Path) -> Explanation:
    picture = folder / Path(entry["picture"]).name
    image = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else None
    verdict = "right" if entry["label"] == entry["predicted"] else "wrong"
    caption = (
        f"Scan {entry['scan_id']}: predicted {entry['predicted']} with a probability of {entry['probability']:.2f}, "
        f"label {entry['label']} ({verdict}); {entry['method']} for {entry['explained']}."
    )
    return Explanation(f"data:image/png;base64,{image}" if image else None, caption)
