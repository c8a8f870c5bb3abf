"""The plan stage through its command line."""

import re

import pytest

from pipeline.config import Plan
from pipeline.config.load import load_yaml


@pytest.mark.slow
def test_a_plan_is_forecast_written_shown_with_reasons_and_keeps_what_is_edited(project, command):
    command("fetch")
    command("ingest")
    file = project / "data" / "cubes" / "plan.yaml"
    stopped = command("plan", check=False)
    assert stopped.returncode == 1
    assert "splits.csv is missing; 'dvc repro split' writes it" in stopped.stderr

    command("split")
    forecast = command("plan", "preview").stderr.splitlines()[-1]
    assert re.fullmatch(
        r"tiny on \d+ scans: about [\d.]+ h per fold .* MB of memory beyond the libraries, .* MB on disk", forecast
    )
    assert not file.exists()

    shown = command("plan").stderr
    assert re.search(r"spacing_mm +\[2\.0, 2\.0, 2\.0\]  # set in the config of cubes", shown)
    assert load_yaml(Plan, file).size_voxels == (16, 16, 16)

    file.write_text(file.read_text().replace("batch_size: 2", "batch_size: 3"))
    assert "edited by hand" in command("plan").stderr
    assert load_yaml(Plan, file).batch_size == 3
