"""The files that W&B has written of a run, one part a sitting, read by wandb's own reader."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def last_step(folder: Path, parts: tuple[str, ...]) -> int:
    """The last step that these parts of a run hold; -1 where there is none."""
    return max((last_step_of_part(folder / part) for part in parts), default=-1)


def last_step_of_part(part: Path) -> int:
    try:
        records = read_records(part)
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
        log.warning("tracking: %s cannot be read (%s); some steps may be sent twice.", part.name, error)
        return -1
    steps = [record["history"]["step"].get("num", 0) for record in records if record["type"] == "history"]
    return max(steps, default=-1)


def read_records(part: Path) -> list[dict[str, Any]]:
    """All records of a part; of one that was cut short, those that are whole."""
    words = ["wandb", "leet", "inspect", "--json", str(part)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
