"""A training that SIGKILL stops at any moment resumes to the same weights and history."""

from pathlib import Path

import pytest

from tests.conftest import Commands
from tests.training.killed import PLACES, RUN, SETTINGS, folder_of
from tests.training.small import Outcome, SmallTraining

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return SmallTraining(tmp_path_factory.mktemp("whole"), **SETTINGS)(RUN)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What killed trainings left, a folder a place."""
    folder = tmp_path_factory.mktemp("killed")
    program = str(Path(__file__).with_name("killed.py"))
    done = Commands(folder).python(program, str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_a_training_killed_anywhere_resumes_to_the_result_of_an_uninterrupted_one(
    place: str, killed: Path, whole: Outcome
) -> None:
    assert SmallTraining(folder_of(place, killed), **SETTINGS)(RUN).is_same_as(whole)
