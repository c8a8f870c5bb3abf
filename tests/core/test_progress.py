"""Logs and progress of long work."""

import logging
from pathlib import Path

import pytest

from pipeline.core import progress
from pipeline.core.progress import WhenNeededHandler, format_duration, show_progress


def test_progress_gives_every_result_and_logs_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "FIRST_LOG_S", 0.0)
    with caplog.at_level(logging.INFO, logger="pipeline"):
        assert list(show_progress(iter("abcd"), total=4, stage="preprocess")) == list("abcd")
    assert caplog.messages[1] == "preprocess: 2 of 4 scans in 0 s, about 0 s left"


def test_short_work_logs_no_progress(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pipeline"):
        assert list(show_progress(iter([1, 2]), total=2, stage="ingest")) == [1, 2]
    assert not caplog.messages


def test_a_log_file_is_made_at_the_first_message(tmp_path: Path) -> None:
    handler = WhenNeededHandler(tmp_path / "logs" / "train.log")
    assert not (tmp_path / "logs").exists()
    handler.emit(logging.LogRecord("pipeline", logging.INFO, "", 0, "epoch 1", None, None))
    handler.close()
    assert (tmp_path / "logs" / "train.log").read_text() == "epoch 1\n"


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    handler = WhenNeededHandler(tmp_path / "logs" / "train.log")
    handler.emit(logging.LogRecord("pipeline", logging.INFO, "", 0, "epoch 1", None, None))
    assert (tmp_path / "logs").read_text() == "a file"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (9000, "2 h")])
def test_a_duration_has_one_readable_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
