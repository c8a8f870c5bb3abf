"""The table that a terminal shows of a frozen run on an external cohort."""

from rich.box import SIMPLE
from rich.table import Table

from pipeline.evaluation.evaluate import Evaluation
from pipeline.reporting.results_table import cell
from pipeline.reporting.wording import metric_name

SHOWN = ("auroc", "sensitivity", "specificity", "brier_score", "calibration_slope", "calibration_intercept")
RECALIBRATED = "recalibrated_"


def external_table(evaluation: Evaluation, cohort: str) -> Table:
    """A row a figure of the headline: as it is, and with the intercept alone fitted anew where that changes it."""
    split, level = evaluation.headline
    entries = evaluation.metrics[split][level]
    table = Table(title=f"{cohort}, by {level}: value (interval)", title_justify="left", box=SIMPLE)
    for name in ("Figure", "As it is", "Intercept fitted anew"):
        table.add_column(name)
    for name in SHOWN:
        if name in entries:
            again = entries.get(f"{RECALIBRATED}{name}")
            table.add_row(metric_name(name), cell(entries[name]), cell(again) if again else "the same")
    return table
