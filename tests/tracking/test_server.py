"""Uploading later, and saying what stands in the way."""

from pathlib import Path

import pytest

from pipeline.tracking.layout import save_layout
from tests.conftest import Commands

NOBODY_LISTENS = "http://127.0.0.1:9"


def upload(folder: Path, **environment: str) -> tuple[int, str]:
    commands = Commands(folder)
    commands.environment |= {"NETRC": str(folder / "no-netrc"), "WANDB_BASE_URL": NOBODY_LISTENS, **environment}
    done = commands("track", "--upload", check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """A folder with one run that was never uploaded, and one that was."""
    for name, files in {"offline-run-1-a": [], "offline-run-2-b": ["run-b.wandb.synced"]}.items():
        (tmp_path / "wandb" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "wandb" / name / file).touch()
    return tmp_path


@pytest.mark.slow
def test_without_a_key_the_runs_go_on_waiting_and_the_way_to_a_key_is_named(waiting: Path) -> None:
    code, said = upload(waiting)
    assert code == 1 and "1 runs wait in wandb/" in said and "WANDB_API_KEY" in said and "wandb login" in said


@pytest.mark.slow
def test_with_a_key_and_no_server_the_server_is_named(waiting: Path) -> None:
    code, said = upload(waiting, WANDB_API_KEY="0" * 40)
    assert code == 1 and "127.0.0.1 does not answer" in said


@pytest.mark.slow
def test_nothing_to_upload_is_no_error(tmp_path: Path) -> None:
    code, said = upload(tmp_path)
    assert code == 0 and "nothing to upload" in said


def test_a_layout_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="pip install wandb-workspaces"):
        save_layout("entity", "project")


@pytest.mark.slow
def test_a_layout_goes_to_an_entity_and_a_project(tmp_path: Path) -> None:
    done = Commands(tmp_path)("track", "--layout", "volumes", check=False)
    assert done.returncode == 1 and "ENTITY/PROJECT" in done.stderr
