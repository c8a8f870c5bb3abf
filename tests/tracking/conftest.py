"""The W&B runs of the finished project."""

import json
from pathlib import Path

import pytest

from tests.tracking.offline import OfflineRun


@pytest.fixture(scope="session")
def sent(finished: Path) -> dict[str, OfflineRun]:
    """The W&B runs of the finished project, by name."""
    runs = json.loads((finished / "tracking/cubes.json").read_text())["runs"]
    return {run["name"]: OfflineRun(finished, run["run_id"]) for run in runs}


@pytest.fixture(scope="session")
def run(sent: dict[str, OfflineRun]) -> OfflineRun:
    return sent["tiny-fold0-seed0"]
