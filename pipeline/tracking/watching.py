"""Everything that watches one training: the local log, the tracker, and a record of where both are."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from lightning import Callback

from pipeline.config import Config
from pipeline.core.io import write_json
from pipeline.core.paths import Artifacts, FoldPaths
from pipeline.tracking.live import Watch
from pipeline.tracking.naming import fold_parcel
from pipeline.tracking.panels import SlicePanel
from pipeline.tracking.parts import last_step, parts_of, set_aside
from pipeline.tracking.privacy import read_key
from pipeline.tracking.record import Record
from pipeline.tracking.step_log import best_figures, epoch_figures
from pipeline.tracking.tracked_run import TrackedRun, open_run
from pipeline.training.checkpoint import Keeping, RunFile
from pipeline.training.distributed import is_first


@contextmanager
def watch_training(config: Config, keeping: Keeping) -> Iterator[None]:
    """Log the training that runs inside the block; of several processes the first alone logs.

    A training that goes on after a kill goes on with the same W&B run, and sends what that run lacks.
    """
    if not is_first():
        yield
        return
    paths, goes_on = keeping.paths, keeping.resume_from is not None
    record = Record(id_in_sweep() or keeping.key, keeping.key, "running")
    record.write(paths.tracking)
    run, logged_step = begin(config, record, goes_on=goes_on)
    watch = Watch(paths, run, logged_step)
    keeping.admit([watch, *panels(config, keeping, run)])
    try:
        yield
        watch.complete()
        note_best(paths, run)
        record = record.ended("finished")
    except BaseException:
        record = record.ended("stopped")
        raise
    finally:
        record.write(paths.tracking)
        run.finish()


def id_in_sweep() -> str | None:
    """The agent of a sweep knows its trials by ids that it gives."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def begin(config: Config, record: Record, *, goes_on: bool) -> tuple[TrackedRun, int]:
    """The W&B run, and the last step that it has; one that starts anew has none."""
    folder = Artifacts(config.root).wandb
    if not goes_on:
        set_aside(folder, record.run_id)
    logged_step = last_step(parts_of(folder, record.run_id)) if goes_on else -1
    run = open_run(fold_parcel(config, record.run_id, record.key), folder, goes_on=goes_on)
    return run, max(logged_step, run.last_step)


def panels(config: Config, keeping: Keeping, run: TrackedRun) -> list[Callback]:
    """None where pixels may not leave."""
    settings = config.tracking
    if not (settings.log_images and run.is_open):
        return []
    key = read_key(Artifacts(config.root).pseudonym_key)
    return [SlicePanel(run, keeping.fold.classes, keeping.fold.task, every=settings.panel_every, key=key)]


def note_best(paths: FoldPaths, run: TrackedRun) -> None:
    """Write the figures of the epoch that best.ckpt comes from, and tell the tracker."""
    history = pd.read_csv(paths.history).set_index("epoch", drop=False)
    epoch = RunFile.read(paths.best).epoch
    best = {"epoch": epoch, **epoch_figures(history.loc[epoch].to_dict())}
    write_json(paths.best_epoch, best)
    run.summarise(best_figures(best))
