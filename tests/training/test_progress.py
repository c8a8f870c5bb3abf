"""Console progress: one line per epoch, and the remaining time."""

import logging
from pathlib import Path

import pytest

from pipeline.training.progress import format_duration
from tests.training.small import SmallTraining


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"), (90_000, "25.0 h")],
)
def test_the_remaining_time_has_a_readable_unit(seconds: float, says: str) -> None:
    assert format_duration(seconds) == says


def test_each_epoch_logs_its_metrics_and_the_time_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    history = SmallTraining(tmp_path, max_epochs=2)("run").history
    lines = [message for message in caplog.messages if message.startswith("epoch ")]
    for number, (line, row) in enumerate(zip(lines, history.to_dict("records"), strict=True), start=1):
        figures = "  ".join(f"{name} {row[name]:.3f}" for name in ("train_loss", "val_loss", "val_auroc"))
        assert line.startswith(f"epoch {number}/2  {figures}  ") and line.endswith(" s left")
    assert lines[-1].endswith("  0 s left")
