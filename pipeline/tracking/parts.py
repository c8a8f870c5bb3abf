"""The files that W&B has written of a run, one part a sitting, read by wandb's own reader."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
WANDB = (sys.executable, "-m", "wandb")
"""The command line of the wandb that is imported here; PATH may have another, or none."""
ASIDE = "superseded"
KINDS = ("run-*", "offline-run-*")
"""What went online as it was written, and what waits for `wandb sync`."""


def parts_of(folder: Path, run_id: str) -> list[Path]:
    """What lies below wandb/ of a run, oldest first."""
    return sorted((part for part in all_parts(folder) if part.name.endswith(f"-{run_id}")), key=started)


def waiting_parts(folder: Path) -> list[Path]:
    """What the server does not have, or not whole, oldest first."""
    return sorted((part for part in all_parts(folder) if not is_uploaded(part)), key=started)


def all_parts(folder: Path) -> Iterable[Path]:
    return (part for kind in KINDS for part in folder.glob(kind))


def started(part: Path) -> str:
    """The time in the name of a part."""
    return part.name.removeprefix("offline-")


def is_uploaded(part: Path) -> bool:
    """`wandb sync` leaves a mark beside what it has uploaded, and so does `mark_uploaded`."""
    return any(part.glob("*.synced"))


def mark_uploaded(part: Path) -> None:
    """Of a run that went online and ended well: nothing of it is left to send."""
    for file in part.glob("*.wandb"):
        file.with_suffix(".wandb.synced").touch()


def set_aside(folder: Path, run_id: str) -> None:
    """Move what was never sent of a training that starts anew: two beginnings under one id would be mixed up."""
    for part in parts_of(folder, run_id):
        if is_uploaded(part):
            continue
        try:
            (folder / ASIDE).mkdir(exist_ok=True)
            part.rename(folder / ASIDE / part.name)
            log.info("tracking: %s was never uploaded and is superseded; it lies in %s now.", part, folder / ASIDE)
        except OSError as error:
            log.warning("tracking: %s is superseded and could not be moved away (%s); remove it.", part, error)


def last_step(parts: Iterable[Path]) -> int:
    """The last step that these parts of a run hold; -1 where there is none."""
    return max((last_step_of_part(part) for part in parts), default=-1)


def last_step_of_part(part: Path) -> int:
    try:
        records = read_records(part)
        steps = [record["history"]["step"].get("num", 0) for record in records if record["type"] == "history"]
    # Also a layout that another version of wandb has changed: watching must not stop what is watched.
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("tracking: %s cannot be read (%s); some steps may be sent twice.", part.name, error)
        return -1
    return max(steps, default=-1)


def read_records(part: Path) -> list[dict[str, Any]]:
    """All records of a part; of one that was cut short, those that are whole."""
    words = [*WANDB, "leet", "inspect", "--json", str(part)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
