"""A saved W&B report over a project: its runs beside each other, section by section."""

import importlib
from collections.abc import Sequence
from types import ModuleType

LINES = {
    "Training": ["train_loss", "val_loss", "val_auroc", "step/learning_rate", "step/gradient_norm"],
    "Speed and memory": ["step/seconds", "step/waiting_share", "step/memory_mb"],
}
FIGURES = ("auroc", "average_precision", "balanced_accuracy", "brier_score")
TABLES = ("metrics", "predictions", "subgroups", "audits")


def save_layout(entity: str, project: str, experiments: Sequence[str]) -> str:
    """Make the report on the server and return its address; needs a key and wandb-workspaces."""
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
            "wandb-workspaces is not installed, and the report layout needs it; "
            "'pip install wandb-workspaces' into this environment, then give the same command."
        ) from None


def blocks(reports: ModuleType, experiments: Sequence[str]) -> list[object]:
    """Headings with their panels: test figures, curves, speed, tables.

    The test figures are those of the summary run, which has every experiment over all its folds.
    """
    bars = [
        reports.BarPlot(metrics=[f"{experiment}/test/patient/{name}" for experiment in experiments], title=name)
        for name in FIGURES
    ]
    lines = {
        name: [reports.LinePlot(x="Step", y=[figure], title=figure) for figure in figures]
        for name, figures in LINES.items()
    }
    tables = [reports.WeavePanelSummaryTable(table_name=name) for name in TABLES]
    panels = {"Test figures": bars, **lines, "Tables": tables}
    return [block for name, found in panels.items() for block in (reports.H2(name), reports.PanelGrid(panels=found))]
