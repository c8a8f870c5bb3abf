"""A W&B run that never stops the work it records: each failure is one warning, and waiting has a limit."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.tracking.payload import CaptionedImage, RunPayload
from pipeline.tracking.server import can_upload, one_line

if TYPE_CHECKING:
    from pipeline.tracking.wandb_run import WandbRun

log = logging.getLogger(__name__)
Result = TypeVar("Result")
START_TIMEOUT_S = 30.0
"""wandb stops trying after `wandb_run.START_TIMEOUT_S`; this limit holds where its process does not even answer."""
CALL_TIMEOUT_S = 60.0
CLEANUP_TIMEOUT_S = 5.0
FINISH_TIMEOUT_S = 150.0
"""More than `wandb_run.FINISH_TIMEOUT_S`, after which wandb gives up by itself."""


class TrackedRun:
    """Calls a `WandbRun` until its first failure, which is logged once; every later call does nothing."""

    def __init__(self, run: "WandbRun | None") -> None:
        self.run = run
        self.staged: dict[str, list[CaptionedImage]] = {}

    def attempt(self, action: Callable[["WandbRun"], Any], timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Call `action` with the run; a call that fails or exceeds its time closes this run."""
        if self.run is None:
            return
        run = self.run
        try:
            call_within(timeout_s, lambda: action(run))
        # Whatever goes wrong in the tracker, the training continues; the local log is complete without it.
        except Exception as error:
            self.run = None
            log.warning("tracking: W&B failed (%s); continuing with the local log alone.", one_line(error))

    @property
    def is_open(self) -> bool:
        return self.run is not None

    @property
    def is_offline(self) -> bool:
        return self.run is not None and self.run.is_offline

    @property
    def last_step(self) -> int:
        """The last step that the server had when this run was opened; -1 for none."""
        return self.run.last_step if self.run is not None else -1

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """One whole row of the history; steps must grow."""
        staged, self.staged = self.staged, {}
        self.attempt(lambda run: run.log(step, metrics, staged))

    def stage_images(self, name: str, images: list[CaptionedImage]) -> None:
        """Keep images for the next row."""
        self.staged[name] = images

    def update_summary(self, metrics: dict[str, Any]) -> None:
        self.attempt(lambda run: run.update_summary(metrics))

    def add(self, payload: RunPayload) -> None:
        """Everything of a payload, in one row of the history."""
        self.attempt(lambda run: run.add(payload), timeout_s=FINISH_TIMEOUT_S)

    def finish(self) -> None:
        self.attempt(lambda run: run.finish(), timeout_s=FINISH_TIMEOUT_S)


def open_run(payload: RunPayload, wandb_folder: Path, *, resume: bool) -> TrackedRun:
    """Start or resume the W&B run of a payload, online if the server answers, else offline.

    Returns a run that does nothing where tracking is off, or where wandb does not start at all.
    """
    mode = payload.tracking.mode
    if mode == "none":
        return TrackedRun(None)
    # Files for a later upload stay beside the runs that need them, not in the home directory.
    os.environ["WANDB_DATA_DIR"] = str(wandb_folder)
    for wandb_mode in ("online", "offline"):
        try:
            if wandb_mode == "offline" or (mode == "auto" and can_upload()):
                return TrackedRun(start_run(payload, wandb_folder, wandb_mode, resume=resume))
        except Exception as error:
            remedy = "; writing an offline run, 'make sync' uploads it later" if wandb_mode == "online" else ""
            log.warning("tracking: W&B did not start %s (%s)%s.", wandb_mode, one_line(error), remedy)
    log.warning("tracking: continuing with the local log alone.")
    return TrackedRun(None)


def start_run(payload: RunPayload, wandb_folder: Path, wandb_mode: str, *, resume: bool) -> "WandbRun":
    # Imported here: where tracking is off, wandb need not be installed or intact.
    from pipeline.tracking.wandb_run import start

    return call_within(START_TIMEOUT_S, lambda: start(payload, wandb_folder.parent, wandb_mode, resume=resume))


def call_within(timeout_s: float, action: Callable[[], Result]) -> Result:
    """The result of `action`, or TimeoutError after `timeout_s` seconds, when wandb's process is ended.

    That process may be stopped or wait for a server; ended, it can hold up neither this thread nor the exit of Python.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not results:
        cleanup = Thread(target=end_service, daemon=True)
        cleanup.start()
        cleanup.join(CLEANUP_TIMEOUT_S)
        raise TimeoutError(f"no answer from its process within {timeout_s:g} s")
    return results[0]


def end_service() -> None:
    from pipeline.tracking import wandb_run

    with suppress(Exception):
        wandb_run.end_service()
