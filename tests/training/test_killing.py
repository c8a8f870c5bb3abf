"""SIGKILL at any place, then the same training again: weights and history of one that was never stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.training.killed import PLACES, RUN, SETTINGS
from tests.training.small import Outcome, SmallTraining

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    yield SmallTraining(tmp_path_factory.mktemp("whole"), **SETTINGS)(RUN)


@pytest.mark.parametrize("place", PLACES)
def test_a_training_killed_anywhere_goes_on_to_the_result_of_a_whole_one(
    place: str, whole: Outcome, tmp_path: Path
) -> None:
    words = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path), place]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert SmallTraining(tmp_path, **SETTINGS)(RUN).is_same_as(whole)
