"""Everything that watches one training: the local log, the tracker, and a record of where both are."""

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from lightning import Callback

from pipeline.artifacts import Artifacts, FoldPaths
from pipeline.config import Config
from pipeline.files import write_json
from pipeline.tracking.live import Watch, epoch_figures
from pipeline.tracking.naming import fold_parcel
from pipeline.tracking.panels import SlicePanel
from pipeline.tracking.parts import last_step
from pipeline.tracking.record import Record, read_record
from pipeline.tracking.wandb_run import TrackedRun, open_run
from pipeline.training.keeping.keeping import Keeping
from pipeline.training.keeping.runfile import RunFile
from pipeline.training.processes import is_first


@contextmanager
def watch_training(config: Config, keeping: Keeping) -> Iterator[None]:
    """Log the training that runs inside the block; of several processes the first alone logs.

    A training that goes on after a kill goes on with the same W&B run, and sends what that run lacks.
    """
    if not is_first():
        yield
        return
    paths, earlier = keeping.paths, read_record(keeping.paths.tracking)
    goes_on = keeping.resume_from is not None and earlier is not None and earlier.run_id == keeping.key
    record = earlier if goes_on else Record(keeping.key, "running")
    logged_step = last_step(Artifacts(config.root).wandb, record.parts)
    run = open_run(fold_parcel(config, keeping.key), config.root, goes_on=goes_on)
    record = record.ended("running").with_part(run.part)
    record.write(paths.tracking)
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


def panels(config: Config, keeping: Keeping, run: TrackedRun) -> list[Callback]:
    """None where pixels may not leave."""
    settings = config.tracking
    if not settings.log_images:
        return []
    fold = keeping.fold
    return [SlicePanel(run, fold.classes, fold.task, every=settings.panel_every, project=settings.project)]


def note_best(paths: FoldPaths, run: TrackedRun) -> None:
    """Write the figures of the epoch that best.ckpt comes from, and tell the tracker."""
    history = pd.read_csv(paths.history).set_index("epoch", drop=False)
    epoch = RunFile.read(paths.best).epoch
    best = {"epoch": epoch, **epoch_figures(history.loc[epoch].to_dict())}
    write_json(paths.best_epoch, best)
    run.summarise({f"best/{name}": value for name, value in best.items()})
