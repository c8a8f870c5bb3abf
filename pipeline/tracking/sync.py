"""Send payloads to W&B, remember what was sent, and upload offline runs later."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.core.io import read_json, write_json
from pipeline.tracking.payload import RunPayload
from pipeline.tracking.server import has_key, reason_unreachable, server_address
from pipeline.tracking.tracked_run import open_run
from pipeline.tracking.wandb_files import last_step, run_folders, unsynced_folders

log = logging.getLogger(__name__)
NOT_SENT = "not tracked"
WANDB = (sys.executable, "-m", "wandb")
"""The command line of the wandb that is imported here; PATH may have another, or none."""


def last_steps(record: Path) -> dict[str, int]:
    """The last step of each run that an earlier `track` has sent."""
    return {run_id: entry["step"] for run_id, entry in read_sent(record).items()}


def read_sent(record: Path) -> dict[str, dict[str, Any]]:
    """What was ever sent, by run."""
    return {entry["run_id"]: entry for entry in read_json(record, "runs")["runs"]} if record.is_file() else {}


def send(payloads: Iterable[RunPayload], wandb_folder: Path, record: Path) -> int:
    """Complete each run and write down what was sent; returns the exit code, 1 if a run could not be opened."""
    payloads = list(payloads)
    entries = [send_payload(payload, wandb_folder) for payload in payloads]
    # Runs of other experiments and folds keep their entries: their steps continue when they are tracked again.
    runs = read_sent(record) | {entry["run_id"]: entry for entry in entries}
    write_json(record, {"runs": list(runs.values())})
    for entry in entries:
        log.info("%s: %s", entry["name"], entry["state"])
    return exit_code(payloads, entries)


def send_payload(payload: RunPayload, wandb_folder: Path) -> dict[str, Any]:
    """Add a payload to its run, after the steps that the run lacks; a failure is recorded, not raised."""
    logged_step = last_step(run_folders(wandb_folder, payload.run_id))
    run = open_run(payload, wandb_folder, resume=True)
    state = "offline; 'make sync' uploads it" if run.is_offline else "online"
    for step, metrics in payload.history.items():
        if step > max(logged_step, run.last_step):
            run.log(step, metrics)
    run.add(payload)
    is_sent = run.is_open
    run.finish()
    return {
        "name": payload.name,
        "run_id": payload.run_id,
        "step": payload.after_step + is_sent,
        "metrics": len(payload.summary),
        "state": state if is_sent else NOT_SENT,
    }


def exit_code(payloads: list[RunPayload], entries: list[dict[str, Any]]) -> int:
    failed = [
        payload.name
        for payload, entry in zip(payloads, entries, strict=True)
        if entry["state"] == NOT_SENT and payload.tracking.mode != "none"
    ]
    if failed:
        log.warning(
            "tracking: %s could not be sent, for the reason above; run the same command again once that is fixed, "
            "or set tracking.mode=none.",
            ", ".join(failed),
        )
    return 1 if failed else 0


def upload_runs(wandb_folder: Path) -> int:
    """Upload unsynced runs with `wandb sync` and return its exit code; ValueError where that cannot work."""
    folders = unsynced_folders(wandb_folder)
    if not folders:
        log.info("%s: nothing to upload; there is no run that the server lacks.", wandb_folder)
        return 0
    check_server(len(folders), wandb_folder)
    # Runs that lost the network while they were online have the same folder names as complete ones.
    command = [*WANDB, "sync", "--yes", "--include-online", *map(str, folders)]
    # wandb's command line names its log file after the user.
    environment = {**os.environ, "LOGNAME": "user"}
    return subprocess.run(command, check=False, env=environment).returncode


def check_server(num_runs: int, wandb_folder: Path) -> None:
    """ValueError without a key, a server that answers, or a key that the server knows."""
    from pipeline.tracking.wandb_run import check_key

    address = server_address()
    if not has_key(address.hostname or ""):
        raise ValueError(
            f"{num_runs} runs wait in {wandb_folder}/, and no W&B key is configured for {address.hostname}; "
            "set WANDB_API_KEY or run 'wandb login' first."
        )
    reason = reason_unreachable(address)
    if reason:
        raise ValueError(
            f"{address.hostname} does not answer ({reason}); {num_runs} runs still wait in {wandb_folder}/."
        )
    check_key()
