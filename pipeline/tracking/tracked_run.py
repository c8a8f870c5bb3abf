"""A run that is told to the tracker and never fails, whatever becomes of the tracker."""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.tracking.contents import Parcel, Picture
from pipeline.tracking.server import can_upload, said

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.tracking.wandb_run import WandbRun

log = logging.getLogger(__name__)


class TrackedRun:
    """A W&B run that never fails: at its first trouble it says so once and falls silent."""

    def __init__(self, run: "WandbRun | None") -> None:
        self.run = run
        self.staged: dict[str, list[Picture]] = {}

    def attempt(self, action: Callable[["WandbRun"], Any]) -> None:
        if self.run is None:
            return
        try:
            action(self.run)
        # Whatever the tracker's trouble is, the work it watches goes on; the local log holds the truth.
        except Exception as error:
            self.run = None
            log.warning("tracking: W&B failed (%s); going on with the local log alone.", said(error))

    @property
    def is_open(self) -> bool:
        return self.run is not None

    @property
    def is_offline(self) -> bool:
        return self.run is not None and self.run.is_offline

    @property
    def part(self) -> str | None:
        """The folder below wandb/ that this sitting writes."""
        return self.run.part.name if self.run is not None else None

    @property
    def last_step(self) -> int:
        """The last step that the server had when this sitting began; -1 for none."""
        return self.run.last_step if self.run is not None else -1

    def log(self, step: int, figures: dict[str, Any]) -> None:
        """One whole row of the history; steps must grow."""
        staged, self.staged = self.staged, {}
        self.attempt(lambda run: run.log(step, figures, staged))

    def stage_pictures(self, name: str, pictures: list[Picture]) -> None:
        """Keep pictures for the next row."""
        self.staged[name] = pictures

    def summarise(self, figures: dict[str, Any]) -> None:
        self.attempt(lambda run: run.summarise(figures))

    def add(self, parcel: Parcel) -> None:
        """Everything of a parcel, in one row of the history."""
        self.attempt(lambda run: run.add(parcel))

    def finish(self) -> None:
        self.attempt(lambda run: run.finish())


def open_run(parcel: Parcel, wandb_folder: "Path", *, goes_on: bool) -> TrackedRun:
    """Start the W&B run of a parcel, or go on with it; silent where tracking is off or does not start."""
    mode = parcel.tracking.mode
    if mode == "none":
        return TrackedRun(None)
    # What is uploaded later is kept beside the runs that need it, not in the home directory.
    os.environ["WANDB_DATA_DIR"] = str(wandb_folder)
    for way in ("online", "offline"):
        try:
            if way == "offline" or (mode == "auto" and can_upload()):
                # A missing or broken wandb is a tracker that does not start.
                from pipeline.tracking.wandb_run import start

                return TrackedRun(start(parcel, wandb_folder.parent, way, goes_on=goes_on))
        except Exception as error:
            log.warning("tracking: W&B did not start %s: %s", way, said(error))
    log.warning("tracking: going on with the local log alone.")
    return TrackedRun(None)
