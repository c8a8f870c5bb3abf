"""What is sent to the tracker, in plain Python types; `wandb_run` turns it into the types of wandb."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import Config, Tracking
from pipeline.tracking.privacy import public_config

ChartKind = Literal["roc", "precision_recall", "calibration", "calibration_smooth", "decision_curve", "confusion"]


@dataclass(frozen=True)
class CaptionedImage:
    """Gray (H, W) or color (H, W, 3) pixels in 0..255, and a caption."""

    pixels: NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A native chart over a plot table of the evaluate stage."""

    kind: ChartKind
    table: pd.DataFrame
    title: str


@dataclass(frozen=True)
class Artifact:
    """A versioned input or output of a run."""

    name: str
    kind: str
    """dataset, split, model, predictions or report."""
    origin: dict[str, Any]
    """Where DVC keeps it: path, hash, size."""
    metadata: dict[str, Any]
    """The git commit, and for an output its run."""
    is_input: bool = False
    """True if the run used it, false if the run made it."""
    aliases: tuple[str, ...] = ("latest",)
    file: Path | None = None
    """Its bytes, if they may leave the machine."""
    table: pd.DataFrame | None = None
    """Rows to send in place of the file, free of ids."""
    page: str | None = None
    """HTML to send in place of the file, free of ids."""


@dataclass(frozen=True)
class RunPayload:
    """Everything that is added to one W&B run."""

    run_id: str
    name: str
    group: str
    job_type: str
    """The stage that the run belongs to."""
    tags: tuple[str, ...]
    config: dict[str, Any]
    tracking: Tracking
    summary: dict[str, Any] = field(default_factory=dict)
    """Metrics by name, `test/patient/auroc`, `test/patient/auroc/low`, …; undefined ones are left out."""
    charts: dict[str, Chart] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Cells may be images."""
    pages: dict[str, str] = field(default_factory=dict)
    """HTML that shows scans, free of ids."""
    artifacts: list[Artifact] = field(default_factory=list)
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    """Metrics of the training by step; the run receives the steps that it lacks."""
    after_step: int = -1
    """Last step of the run before what is added here."""


def middle_slice(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The slice (H, W) halfway along D of a volume (D, H, W), gray between its 1st and 99.5th percentile."""
    plane = volume[len(volume) // 2]
    low, high = np.percentile(plane, (1, 99.5))
    return (np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def training_payload(config: Config, run_id: str, key: str) -> RunPayload:
    """The run of one training, without results; its config contains the key, which the model file contains too."""
    return RunPayload(
        run_id=run_id,
        name=f"{config.name}-fold{config.fold}-seed{config.seed}",
        group=f"{config.cohort.name}-{config.name}",
        job_type="train",
        tags=(config.cohort.name, config.name, config.model.name),
        config={**public_config(config), "key": key},
        tracking=config.tracking,
    )


def summary_payload(config: Config, run_ids: Sequence[str]) -> RunPayload:
    """The one run over all trainings of a cohort; equal trainings give an equal id."""
    cohort = config.cohort.name
    return RunPayload(
        run_id=blake2s(" ".join([cohort, *sorted(run_ids)]).encode(), digest_size=6).hexdigest(),
        name=f"{cohort}-summary",
        group=f"{cohort}-summary",
        job_type="track",
        tags=(cohort, "summary"),
        config={
            "cohort": public_config(config)["cohort"],
            "experiments": config.experiments,
            "folds": config.folds,
            "seeds": config.seeds,
        },
        tracking=config.tracking,
    )
