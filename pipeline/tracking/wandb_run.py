"""The one door to Weights & Biases: private by default, and with a limit to all waiting."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import wandb

from pipeline.tracking.payload import Artifact, Chart, Parcel, Picture
from pipeline.tracking.sync import can_upload, mark_uploaded, said

STARTED_WITHIN_S = 10.0
FINISHED_WITHIN_S = 120.0
"""Where the network is lost, what could not be sent by then stays on the disk, for `make sync`."""
FLUSH_EVERY_S = 1.0
"""A killed run loses what came after the last flush; the local log gives it back when training goes on."""


class WandbRun:
    """One sitting of a W&B run, told of in this package's own words; whatever fails is raised."""

    def __init__(self, run: wandb.Run) -> None:
        self.run = run
        log_artifact = run.log_artifact
        run.log_artifact = lambda artifact, **options: log_artifact(with_relative_paths(artifact), **options)

    @property
    def is_offline(self) -> bool:
        return self.run.offline

    @property
    def part(self) -> Path:
        """The folder that this sitting writes."""
        return Path(self.run.dir).parent

    @property
    def last_step(self) -> int:
        """The last step that the server had when this sitting began; -1 for none, and offline."""
        return self.run.starting_step - 1

    def log(self, step: int, figures: dict[str, Any], pictures: dict[str, list[Picture]]) -> None:
        """One whole row of the history; steps must grow."""
        self.run.log({**figures, **as_images(pictures)}, step=step, commit=True)

    def summarise(self, figures: dict[str, Any]) -> None:
        self.run.summary.update(figures)

    def add(self, parcel: Parcel) -> None:
        """Everything of a parcel, in one row of the history."""
        self.summarise(parcel.summary)
        self.run.log(media_of(parcel), step=parcel.after_step + 1, commit=True)
        for artifact in parcel.artifacts:
            log_lineage(self.run, artifact)

    def finish(self) -> None:
        """TimeoutError where the server does not get the rest in time."""
        self.run.finish()
        if not self.is_offline:
            mark_uploaded(self.part)


def start(parcel: Parcel, root: Path, mode: str, *, goes_on: bool) -> WandbRun:
    """The run of a parcel: anew, or where it was left."""
    run = wandb.init(
        id=parcel.run_id,
        resume="allow" if goes_on else None,
        dir=str(root),
        mode=mode,
        project=parcel.tracking.project,
        group=parcel.group,
        job_type=parcel.job_type,
        name=parcel.name,
        tags=parcel.tags,
        config=parcel.config,
        settings=private_settings(),
    )
    return WandbRun(run)


def private_settings() -> wandb.Settings:
    """Keep host, user, paths, packages, code and console where they are."""
    return wandb.Settings(
        host="",
        disable_git=True,
        disable_code=True,
        save_code=False,
        console="off",
        silent=True,
        init_timeout=STARTED_WITHIN_S,
        finish_timeout=FINISHED_WITHIN_S,
        finish_timeout_raises=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        x_transaction_log_flush_interval=FLUSH_EVERY_S,
    )


def media_of(parcel: Parcel) -> dict[str, Any]:
    media: dict[str, Any] = {name: as_chart(chart) for name, chart in parcel.charts.items()}
    media |= {name: as_table(table) for name, table in parcel.tables.items()}
    # Without `inject` the page stays as it is, and loads nothing from elsewhere.
    return media | {name: wandb.Html(page, inject=False) for name, page in parcel.pages.items()}


def as_images(pictures: dict[str, list[Picture]]) -> dict[str, list[wandb.Image]]:
    return {name: [as_image(picture) for picture in group] for name, group in pictures.items()}


def as_image(picture: Picture) -> wandb.Image:
    return wandb.Image(picture.pixels, caption=picture.caption)


def as_table(table: pd.DataFrame) -> wandb.Table:
    """A row a row; cells that are pictures become images."""
    cells = [
        [as_image(cell) if isinstance(cell, Picture) else cell for cell in row] for row in table.to_numpy().tolist()
    ]
    return wandb.Table(columns=[str(name) for name in table.columns], data=cells, allow_mixed_types=True)


def as_chart(chart: Chart) -> Any:
    """One of W&B's own charts over the very numbers of the plot table."""
    words = {"title": chart.title}
    if chart.kind in ("roc", "precision_recall"):
        x, y = {"roc": ("false_positive_rate", "sensitivity"), "precision_recall": ("recall", "precision")}[chart.kind]
        words |= {"x-axis-title": x.replace("_", " "), "y-axis-title": y}
        fields = {"x": x, "y": y, "class": "class"}
        return wandb.plot_table("wandb/area-under-curve/v0", as_table(chart.table), fields, words)
    if chart.kind == "confusion":
        counts = chart.table.value_counts(["actual", "predicted"]).reset_index(name="nPredictions")
        fields = {"Actual": "actual", "Predicted": "predicted", "nPredictions": "nPredictions"}
        return wandb.plot_table("wandb/confusion_matrix/v1", as_table(counts), fields, words)
    lines = chart.table.melt(["predicted"], ["observed", "low", "high"], "line", "share")
    fields = {"step": "predicted", "lineKey": "line", "lineVal": "share"}
    return wandb.plot_table("wandb/lineseries/v0", as_table(lines), fields, {**words, "xname": "predicted"})


def log_lineage(run: wandb.Run, artifact: Artifact) -> None:
    """Tell the run what it used or made."""
    made = wandb.Artifact(artifact.name, type=artifact.kind, metadata={**artifact.origin, **artifact.metadata})
    if artifact.file is not None:
        made.add_file(str(artifact.file))
    if artifact.table is not None:
        with made.new_file(f"{artifact.kind}.csv", mode="w", encoding="utf-8") as stream:
            artifact.table.to_csv(stream, index=False, lineterminator="\n")
    if artifact.page is not None:
        with made.new_file(f"{artifact.kind}.html", mode="w", encoding="utf-8") as stream:
            stream.write(artifact.page)
    # The same origin gives the same bytes, hence the same version, whichever run tells of it.
    with made.new_file("origin.json", mode="w", encoding="utf-8") as stream:
        json.dump(artifact.origin, stream, indent=2)
    if artifact.is_input:
        # `use_artifact` refuses to work offline; this is what it does online.
        run._log_artifact(with_relative_paths(made), aliases=list(artifact.aliases), use_after_commit=True)
    else:
        run.log_artifact(made, aliases=list(artifact.aliases))


def with_relative_paths(artifact: wandb.Artifact) -> wandb.Artifact:
    """Let the run name its files from here on: absolute paths tell of their machine, and break on another."""
    for entry in artifact.manifest.entries.values():
        if entry.local_path:
            entry.local_path = os.path.relpath(entry.local_path)
    return artifact


if TYPE_CHECKING:
    from pathlib import Path


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

                return TrackedRun(start(parcel, wandb_folder.parent, way, goes_on=goes_on))
        except Exception as error:
            log.warning("tracking: W&B did not start %s: %s", way, said(error))
    log.warning("tracking: going on with the local log alone.")
    return TrackedRun(None)
