"""The only module that imports wandb: private by default, and with a limit to every wait."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from pipeline.tracking.payload import Artifact, CaptionedImage, Chart, RunPayload
from pipeline.tracking.server import one_line
from pipeline.tracking.wandb_files import mark_synced

START_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 120.0
"""If the network fails, what could not be sent by then stays on the disk, for `make sync`."""
FLUSH_INTERVAL_S = 1.0
"""A killed run loses what came after the last flush; a resumed training sends it again from the local log."""
SERVICE = "wandb-core"
"""The process that wandb starts to write and send runs."""


class WandbRun:
    """One W&B run as it is opened once; every failure is raised."""

    def __init__(self, run: wandb.Run) -> None:
        self.run = run

    @property
    def is_offline(self) -> bool:
        return self.run.offline

    @property
    def last_step(self) -> int:
        """The last step that the server had when this run was opened; -1 for none, and offline."""
        return self.run.starting_step - 1

    def log(self, step: int, metrics: dict[str, Any], images: dict[str, list[CaptionedImage]]) -> None:
        """One whole row of the history; steps must grow."""
        self.run.log({**metrics, **to_wandb_images(images)}, step=step, commit=True)

    def update_summary(self, metrics: dict[str, Any]) -> None:
        self.run.summary.update(metrics)

    def add(self, payload: RunPayload) -> None:
        """Everything of a payload, in one row of the history."""
        self.update_summary(payload.summary)
        step = payload.after_step + 1
        self.run.log(media_of(self.run, payload, step), step=step, commit=True)
        for artifact in payload.artifacts:
            log_lineage(self.run, artifact)

    def finish(self) -> None:
        """Raises TimeoutError if the server does not receive the rest in time."""
        self.run.finish()
        if not self.is_offline:
            mark_synced(Path(self.run.dir).parent)


def start(payload: RunPayload, root: Path, mode: str, *, resume: bool) -> WandbRun:
    """Open the run of a payload, new or resumed; `mode` is online or offline."""
    set_global_mode(mode)
    run = wandb.init(
        id=payload.run_id,
        resume="allow" if resume else None,
        dir=str(root),
        mode=mode,
        project=payload.tracking.project,
        group=payload.group,
        job_type=payload.job_type,
        name=payload.name,
        tags=payload.tags,
        config=payload.config,
        settings=private_settings(),
    )
    return WandbRun(run)


def set_global_mode(mode: str) -> None:
    """Let wandb read WANDB_MODE anew: it sends telemetry unless its global mode is offline, whatever a run's mode is.

    Also ends what a start that failed has left, whose run id would still be in use.
    """
    user_mode = os.environ.get("WANDB_MODE")
    os.environ["WANDB_MODE"] = mode
    try:
        wandb.teardown()
        wandb.setup()
    finally:
        os.environ.pop("WANDB_MODE")
        if user_mode is not None:
            os.environ["WANDB_MODE"] = user_mode


def private_settings() -> wandb.Settings:
    """Settings that do not record host, user, paths, packages, code and console."""
    return wandb.Settings(
        host="",
        disable_git=True,
        disable_code=True,
        save_code=False,
        console="off",
        silent=True,
        init_timeout=START_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        finish_timeout_raises=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
        x_transaction_log_flush_interval=FLUSH_INTERVAL_S,
    )


def end_service() -> None:
    """Kill the process that wandb has started for this one, even if it is stopped, and forget it."""
    for child in psutil.Process().children():
        if child.name().startswith(SERVICE):
            child.kill()
    # Its hook at exit would fail to reach that process.
    wandb.teardown()


def base_url() -> str:
    """The server's address, by wandb's settings and the environment."""
    return wandb.setup().settings.base_url


def check_key() -> None:
    """ValueError if the server does not know the key."""
    try:
        wandb.login(verify=True, timeout=10)
    except wandb.Error as error:
        raise ValueError(f"the W&B key is rejected: {one_line(error)}; run 'wandb login --relogin'.") from None


def history_step(record: bytes) -> int | None:
    """The step of a row of the history in a run file; None for other records."""
    content = Record.FromString(record)
    return content.history.step.num if content.WhichOneof("record_type") == "history" else None


def media_of(run: wandb.Run, payload: RunPayload, step: int) -> dict[str, Any]:
    """Charts, tables and pages of a payload as wandb's types."""
    media: dict[str, Any] = {}
    for name, chart in payload.charts.items():
        media[name] = to_wandb_chart(chart)
        log_table_files(run, f"{name}_table", media[name].table, step)
    for name, table in payload.tables.items():
        media[name] = to_wandb_table(table)
        log_table_files(run, name, media[name], step)
    # Without `inject` the page stays as it is, and loads nothing from elsewhere.
    return media | {name: wandb.Html(page, inject=False) for name, page in payload.pages.items()}


def log_table_files(run: wandb.Run, name: str, table: wandb.Table, step: int) -> None:
    """Log the table's rows and images as an artifact, and its rows as a file of the run.

    `run.log` does the same for a table that is not bound to a run, but writes absolute paths into the run's file.
    """
    artifact = wandb.Artifact(f"{run.id}-{name.replace('/', '')}", "run_table")
    artifact.add(table, name)
    run.log_artifact(with_relative_paths(artifact))
    table.bind_to_run(run, name, step)


def to_wandb_images(images: dict[str, list[CaptionedImage]]) -> dict[str, list[wandb.Image]]:
    return {name: [to_wandb_image(image) for image in group] for name, group in images.items()}


def to_wandb_image(image: CaptionedImage) -> wandb.Image:
    return wandb.Image(image.pixels, caption=image.caption)


def to_wandb_table(table: pd.DataFrame) -> wandb.Table:
    """The same rows; cells that are images become wandb's images."""
    cells = [
        [to_wandb_image(cell) if isinstance(cell, CaptionedImage) else cell for cell in row]
        for row in table.to_numpy().tolist()
    ]
    return wandb.Table(columns=[str(name) for name in table.columns], data=cells, allow_mixed_types=True)


def to_wandb_chart(chart: Chart) -> Any:
    """One of W&B's own charts over the numbers of the plot table."""
    strings = {"title": chart.title}
    if chart.kind in ("roc", "precision_recall"):
        x, y = {"roc": ("false_positive_rate", "sensitivity"), "precision_recall": ("recall", "precision")}[chart.kind]
        strings |= {"x-axis-title": x.replace("_", " "), "y-axis-title": y}
        fields = {"x": x, "y": y, "class": "class"}
        return wandb.plot_table("wandb/area-under-curve/v0", to_wandb_table(chart.table), fields, strings)
    if chart.kind == "confusion":
        counts = chart.table.value_counts(["actual", "predicted"]).reset_index(name="nPredictions")
        fields = {"Actual": "actual", "Predicted": "predicted", "nPredictions": "nPredictions"}
        return wandb.plot_table("wandb/confusion_matrix/v1", to_wandb_table(counts), fields, strings)
    x, lines = lines_of(chart)
    fields = {"step": x, "lineKey": "line", "lineVal": "share"}
    return wandb.plot_table("wandb/lineseries/v0", to_wandb_table(lines), fields, {**strings, "xname": x})


def lines_of(chart: Chart) -> tuple[str, pd.DataFrame]:
    """The column along the axis, and a row per point and line; of several classes each has its own lines."""
    if chart.kind == "decision_curve":
        x, lines = "threshold", ["net_benefit", "low", "high", "act_on_everybody"]
    else:
        x, lines = "predicted", ["observed", "low", "high"]
    parts = [name for name in ("of_label", "class") if name in chart.table and chart.table[name].nunique() > 1]
    points = chart.table.dropna(subset=x).melt([x, *parts], lines, "line", "share")
    return x, points.assign(line=points[[*parts, "line"]].astype(str).agg(" ".join, axis=1))[[x, "line", "share"]]


def log_lineage(run: wandb.Run, artifact: Artifact) -> None:
    """Log an input or output of the run."""
    logged = wandb.Artifact(artifact.name, type=artifact.kind, metadata={**artifact.origin, **artifact.metadata})
    if artifact.file is not None:
        logged.add_file(str(artifact.file))
    if artifact.table is not None:
        with logged.new_file(f"{artifact.kind}.csv", mode="w", encoding="utf-8") as stream:
            artifact.table.to_csv(stream, index=False, lineterminator="\n")
    if artifact.page is not None:
        with logged.new_file(f"{artifact.kind}.html", mode="w", encoding="utf-8") as stream:
            stream.write(artifact.page)
    # The same origin gives the same bytes, hence the same version, whichever run logs it.
    with logged.new_file("origin.json", mode="w", encoding="utf-8") as stream:
        json.dump(artifact.origin, stream, indent=2)
    if artifact.is_input:
        # `use_artifact` raises offline; this call is what it makes online.
        run._log_artifact(with_relative_paths(logged), aliases=list(artifact.aliases), use_after_commit=True)
    else:
        run.log_artifact(with_relative_paths(logged), aliases=list(artifact.aliases))


def with_relative_paths(artifact: wandb.Artifact) -> wandb.Artifact:
    """Name the artifact's files relative to here: absolute paths identify their machine, and break on another."""
    for entry in artifact.manifest.entries.values():
        if entry.local_path:
            entry.local_path = os.path.relpath(entry.local_path)
    return artifact
