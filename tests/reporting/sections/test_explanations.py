"""Explanations on the experiment page."""

import json

from pipeline.core.io import write_text
from pipeline.core.paths import Artifacts
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


def test_an_image_is_embedded_in_the_page_and_a_missing_one_is_named(config):
    write_run(config, "tiny", predictions())
    folder = Artifacts(config.root).run("made", "tiny").explanations
    entries = [
        {
            "picture": name,
            "map": "m.nii.gz",
            "scan_id": name,
            "label": "disease",
            "predicted": "healthy",
            "probability": 0.9,
            "method": "gradcam",
            "explained": "lesion",
        }
        for name in ("there.png", "lost.png")
    ]
    write_text(folder / "captions.json", json.dumps(entries))
    (folder / "there.png").write_bytes(b"\x89PNG")
    html = experiment(config)
    assert "data:image/png;base64,iVBORw==" in html
    assert "Not available: the image of this scan" in text_of(html)
    assert "label disease (wrong)" in text_of(html)
