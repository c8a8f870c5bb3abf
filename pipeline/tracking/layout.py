"""A saved report on the W&B server that compares the runs of a project."""

import importlib
from collections.abc import Sequence
from types import ModuleType

from pipeline.evaluation.metrics import metric_title

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
