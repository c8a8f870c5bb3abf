"""One class a scan or several labels: what a table of predictions is judged as."""

import pandas as pd

from pipeline.evaluation.divided import evaluate_divided
from pipeline.evaluation.evaluating import Evaluation
from pipeline.evaluation.multilabel import evaluate_labels
from pipeline.evaluation.settings import MULTILABEL, Settings
from pipeline.evaluation.tables.background import Background


def evaluate_task(predictions: pd.DataFrame, settings: Settings, background: Background | None = None) -> Evaluation:
    """Everything that is reported about the table, by the task of the settings."""
    judge = evaluate_labels if settings.task == MULTILABEL else evaluate_divided
    return judge(predictions, settings, background)
