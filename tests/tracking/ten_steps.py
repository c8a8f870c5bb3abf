"""A program that logs ten steps, the way a training does."""

import subprocess
from pathlib import Path

from tests.conftest import Commands

RUN_ID = "abc123"
PROGRAM = """
import logging, psutil, sys
from pathlib import Path
from pipeline.config import Tracking
from pipeline.tracking.payload import RunPayload
from pipeline.tracking.tracked_run import open_run
logging.basicConfig(level=logging.INFO)
if "impatient" in sys.argv:
    from pipeline.tracking import tracked_run, wandb_run
    wandb_run.START_TIMEOUT_S = wandb_run.FINISH_TIMEOUT_S = 2.0
    tracked_run.CALL_TIMEOUT_S = tracked_run.FINISH_TIMEOUT_S = 4.0
tracking = Tracking(mode="none" if "none" in sys.argv else "auto")
run = open_run(RunPayload("abc123", "name", "group", "train", (), {}, tracking), Path("wandb"), resume=False)
for step in range(10):
    if step == 5 and {"kill", "stop"} & set(sys.argv):
        [service.kill() if "kill" in sys.argv else service.suspend() for service in psutil.Process().children(True)]
    run.log(step, {"x": step})
if "wait" in sys.argv:
    print("waiting", flush=True)
    sys.stdin.readline()
run.finish()
print("open" if run.is_open else "silent")
"""


def commands_in(folder: Path, **environment: str) -> Commands:
    """Commands that find no key but one that is given here."""
    commands = Commands(folder)
    commands.environment |= {"NETRC": str(folder / "no-netrc"), **environment}
    return commands


def log_ten_steps(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    return commands_in(folder, **environment).python("-c", PROGRAM, *words)


def break_wandb(folder: Path) -> str:
    """A PYTHONPATH with which `import wandb` fails."""
    (folder / "broken").mkdir()
    (folder / "broken" / "wandb.py").write_text("raise ImportError('wandb is broken')\n")
    return f"{folder / 'broken'}:{Commands(folder).environment['PYTHONPATH']}"
