"""Uploading later, and saying what stands in the way."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from pipeline.tracking.panels import save_layout
from pipeline.tracking.server import reason_unreachable
from tests.conftest import PLANTED_HOST, PLANTED_USER, Commands
from tests.tracking.ten_steps import PROGRAM, RUN_ID, commands_in, log_ten_steps
from tests.tracking.wandb_server import wandb_server

NOBODY_LISTENS = "http://127.0.0.1:9"


def upload(folder: Path, **environment: str) -> tuple[int, str]:
    commands = commands_in(folder, **{"WANDB_BASE_URL": NOBODY_LISTENS, **environment})
    done = commands("track", "upload", check=False)
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
        save_layout("entity", "project", ["tiny"])


@pytest.mark.slow
def test_a_layout_goes_to_an_entity_and_a_project(tmp_path: Path) -> None:
    done = Commands(tmp_path)("track", "layout", "volumes", check=False)
    assert done.returncode == 1 and "ENTITY/PROJECT" in done.stderr


@pytest.mark.slow
def test_what_waits_is_uploaded_whole_under_no_name_of_this_machine(tmp_path: Path) -> None:
    log_ten_steps(tmp_path)
    with wandb_server() as server:
        code, said = upload(tmp_path, **server.environment)
        assert code == 0 and [row["x"] for row in server.history(RUN_ID)] == list(range(10)), said
        for private in (PLANTED_USER, PLANTED_HOST, str(tmp_path), str(Path.home())):
            assert not any(private.encode() in body for _, body in server.received), private
        assert "nothing to upload" in upload(tmp_path, **server.environment)[1]
    # wandb's command line names its log file after the user.
    assert list(tmp_path.glob("wandb/debug-cli.*.log")) or not list(tmp_path.rglob("debug-cli*"))
    assert not [path for path in tmp_path.rglob("*") if PLANTED_USER in path.name]


@pytest.mark.slow
def test_a_run_that_is_online_to_its_end_waits_for_no_upload(tmp_path: Path) -> None:
    with wandb_server() as server:
        assert log_ten_steps(tmp_path, **server.environment).stdout.strip() == "open"
        assert [row["x"] for row in server.history(RUN_ID)] == list(range(10))
        assert "nothing to upload" in upload(tmp_path, **server.environment)[1]


@pytest.mark.slow
def test_a_run_that_loses_its_server_ends_all_the_same_and_is_uploaded_later(tmp_path: Path) -> None:
    with wandb_server() as server:
        commands = commands_in(tmp_path, **server.environment)
        words = [sys.executable, "-c", PROGRAM, "impatient", "wait"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(words, cwd=tmp_path, env=commands.environment, **pipes)
        assert process.stdout.readline().strip() == "waiting"
    said, warned = process.communicate("go on\n", timeout=60)
    assert said.strip() == "silent" and warned.count("W&B failed") == 1 and process.returncode == 0
    with wandb_server() as server:
        assert upload(tmp_path, **server.environment)[0] == 0
        assert [row["x"] for row in server.history(RUN_ID)] == list(range(10))


class Proxy(BaseHTTPRequestHandler):
    """Lets through to one host."""

    def do_CONNECT(self) -> None:
        self.send_response(200 if self.path.startswith("wandb.invalid:") else 403)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The only way out of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.delenv("https_proxy", raising=False)
        monkeypatch.setenv("NO_PROXY", "near.invalid")
        monkeypatch.delenv("no_proxy", raising=False)
        yield
        server.shutdown()


def test_a_server_is_asked_for_through_the_proxy_of_the_environment(proxy: None) -> None:
    # No name below `invalid` is ever found: an answer is the proxy's.
    assert reason_unreachable(urlsplit("https://wandb.invalid")) is None
    assert "through the proxy 127.0.0.1" in reason_unreachable(urlsplit("https://other.invalid"))
    assert "proxy" not in reason_unreachable(urlsplit("https://near.invalid"))
