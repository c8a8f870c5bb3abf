"""Images of sample slices with predictions while a network trains, sent only where images may be sent."""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from lightning import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluation.metrics import metric_title
from pipeline.tracking.payload import CaptionedImage, middle_slice
from pipeline.tracking.privacy import pseudonym
from pipeline.tracking.tracked_run import TrackedRun
from pipeline.training.targets import Task, probabilities

MAX_SLICES = 8


class SlicePanel(Callback):
    """Every few epochs, the middle slices of the first validation scans with their predictions.

    Reuses the logits of validation, so no scan is predicted twice and sharded weights pose no problem.
    """

    def __init__(self, run: TrackedRun, classes: list[str], task: Task, *, every: int, key: bytes) -> None:
        """`key` is the secret behind the pseudonyms."""
        self.run = run
        self.task = task
        self.classes = classes
        self.every = every
        self.key = key
        self.images: list[CaptionedImage] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """`outputs` are the logits of the batch."""
        room = MAX_SLICES - len(self.images)
        if room and (trainer.current_epoch + 1) % self.every == 0:
            self.run.attempt(lambda _: self.images.extend(self.caption_slices(batch, outputs)[:room]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.images:
            self.run.stage_images("slices", self.images)
        self.images = []

    def caption_slices(self, batch: dict[str, Any], logits: Tensor) -> list[CaptionedImage]:
        volumes, labels = batch["image"].cpu().numpy(), batch["label"].cpu().numpy()
        probs = probabilities(logits.float(), self.task).cpu().numpy()
        return [
            CaptionedImage(middle_slice(volume[0]), self.caption(scan_id, label, prob))
            for volume, scan_id, label, prob in zip(volumes, batch["scan_id"], labels, probs, strict=True)
        ]

    def caption(self, scan_id: str, label: NDArray, prob: NDArray[np.float32]) -> str:
        """Pseudonym, true classes, and the predicted probability of each class."""
        present = np.flatnonzero(label) if label.ndim else [int(label)]
        true = ", ".join(self.classes[index] for index in present) or "none"
        predicted = ", ".join(f"{name} {value:.2f}" for name, value in zip(self.classes, prob, strict=True))
        return f"{pseudonym(scan_id, self.key)}: {true}; predicted {predicted}"


LINES = {
    "Training": ["train_loss", "val_loss", "val_auroc", "step/learning_rate", "step/gradient_norm"],
    "Speed and memory": ["step/seconds", "step/waiting_share", "step/memory_mb"],
}
METRICS = (
    *("auroc", "observed_expected_ratio", "calibration_slope", "brier_skill_score"),
    *("sensitivity", "specificity", "intended_accuracy", "without_twins_auroc"),
)
"""Of the headline panel, whose whole table comes first among the tables."""
TABLES = ("headline", "metrics", "predictions", "scores", "subgroups", "case_mix", "participant_flow", "audits")


def save_layout(entity: str, project: str, experiments: Sequence[str]) -> str:
    """Create the report on the server and return its address; needs a key and wandb-workspaces."""
    reports = workspaces()
    title, content = f"{project}: experiments", blocks(reports, experiments)
    report = reports.Report(entity=entity, project=project, title=title, blocks=content)
    report.save()
    return report.url


def workspaces() -> ModuleType:
    try:
        return importlib.import_module("wandb_workspaces.reports.v2")
    except ModuleNotFoundError:
        raise ValueError(
            "track layout: the package wandb-workspaces is missing; "
            "'pip install wandb-workspaces' into this environment, then run the same command."
        ) from None


def blocks(reports: ModuleType, experiments: Sequence[str]) -> list[object]:
    """Headings with their panels: test metrics, curves, speed, tables.

    The test metrics are those of the summary run, which has every experiment over all its folds.
    """
    bars = [
        reports.BarPlot(
            metrics=[f"{experiment}/test/patient/{name}" for experiment in experiments], title=metric_title(name)
        )
        for name in METRICS
    ]
    lines = {
        name: [reports.LinePlot(x="Step", y=[metric], title=metric) for metric in metrics]
        for name, metrics in LINES.items()
    }
    tables = [reports.WeavePanelSummaryTable(table_name=name) for name in TABLES]
    panels = {"Headline panel on test": bars, **lines, "Tables": tables}
    return [block for name, found in panels.items() for block in (reports.H2(name), reports.PanelGrid(panels=found))]
