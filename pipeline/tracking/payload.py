"""What can be told to the tracker, in plain words: the door turns these into its own types."""

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

Kind = Literal["roc", "precision_recall", "calibration", "confusion"]


@dataclass(frozen=True)
class Picture:
    """Grey (H, W) or colour (H, W, 3) pixels in 0..255, and what they show."""

    pixels: NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A native chart over a plot table of the evaluate stage."""

    kind: Kind
    table: pd.DataFrame
    title: str


@dataclass(frozen=True)
class Artifact:
    """A versioned thing, with what tells where it came from."""

    name: str
    kind: str
    """dataset, split, model, predictions or report."""
    origin: dict[str, Any]
    """Where DVC has it: path, hash, size."""
    metadata: dict[str, Any]
    """The git commit it was told of at, and for an output its run."""
    is_input: bool = False
    """Did the run use it, or make it?"""
    aliases: tuple[str, ...] = ("latest",)
    file: Path | None = None
    """Its bytes, if they may leave the machine."""
    table: pd.DataFrame | None = None
    """Rows to send in place of the file, free of ids."""
    page: str | None = None
    """HTML to send in place of the file, free of ids."""


@dataclass(frozen=True)
class Parcel:
    """All that is added to one run."""

    run_id: str
    name: str
    group: str
    job_type: str
    """The stage that the run belongs to."""
    tags: tuple[str, ...]
    config: dict[str, Any]
    tracking: Tracking
    summary: dict[str, Any] = field(default_factory=dict)
    """Figures by name, `test/patient/auroc`, `test/patient/auroc/low`, …; undefined ones are left out."""
    charts: dict[str, Chart] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Cells may be pictures."""
    pages: dict[str, str] = field(default_factory=dict)
    """HTML, free of ids; it shows scans."""
    artifacts: list[Artifact] = field(default_factory=list)
    history: dict[int, dict[str, float]] = field(default_factory=dict)
    """Figures of the training by step; the run gets those that it lacks."""
    after_step: int = -1
    """Last step of the run before what is added here."""


def middle_slice(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The slice (H, W) halfway along D of a volume (D, H, W), grey between its 1st and 99.5th percentile."""
    plane = volume[len(volume) // 2]
    low, high = np.percentile(plane, (1, 99.5))
    return (np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def fold_parcel(config: Config, run_id: str, key: str) -> Parcel:
    """The run of one training; its key, which the model file leads to, stands in the run's config."""
    return Parcel(
        run_id=run_id,
        name=f"{config.name}-fold{config.fold_number}-seed{config.fold_seed}",
        group=f"{config.cohort.name}-{config.name}",
        job_type="train",
        tags=(config.cohort.name, config.name, config.model.name),
        config={**public_config(config), "key": key},
        tracking=config.tracking,
    )


def summary_parcel(config: Config, run_ids: Sequence[str]) -> Parcel:
    """The one run over all trainings of a cohort; the same trainings have the same."""
    cohort = config.cohort.name
    return Parcel(
        run_id=blake2s(" ".join([cohort, *sorted(run_ids)]).encode(), digest_size=6).hexdigest(),
        name=f"{cohort}-summary",
        group=f"{cohort}-summary",
        job_type="track",
        tags=(cohort, "summary"),
        config={"cohort": public_config(config)["cohort"], "experiments": config.experiments, "folds": config.folds},
        tracking=config.tracking,
    )
