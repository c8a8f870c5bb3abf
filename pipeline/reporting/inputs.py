"""Everything a page shows, read from the files of a run; what is not there is None, and the page says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID
from pipeline.core.folds import fold_numbers, read_splits
from pipeline.core.io import read_json, read_yaml, sha256
from pipeline.core.paths import CohortPaths, RunPaths, TrainingKey
from pipeline.evaluation.evaluate import PATIENT, SCAN, Metrics
from pipeline.evaluation.outputs import has_values, read_metrics
from pipeline.evaluation.predictions import read_folds
from pipeline.evaluation.settings import MULTILABEL
from pipeline.evaluation.test_access_log import count_recorded_evaluations

Json = dict[str, Any]
PLOTS = (
    "roc",
    "precision_recall",
    "calibration",
    "calibration_after",
    "decision_curve",
    "operating_points",
    "confusion",
    "scores",
)


@dataclass(frozen=True)
class CohortFacts:
    """What is known of the scans."""

    table: pd.DataFrame | None
    ingest: Json | None
    splits: pd.DataFrame | None
    leakage: Json | None
    plan: Json | None
    num_folds: int | None = None
    """How many can be trained, those of repeats and of nested parts counted."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of one experiment."""

    name: str
    metrics: Metrics
    plots: dict[str, pd.DataFrame]
    operating_points: Json | None
    calibrations: Json | None
    conformal: Json | None
    models: pd.DataFrame | None
    looks: int
    """How many sets of predictions of this test set were judged so far."""
    subgroups: pd.DataFrame | None
    floors: pd.DataFrame | None
    """Of the audits, which look at simple views of the image as well; else those of the evaluation."""
    audits: Json | None
    doubtful_labels: pd.DataFrame | None
    predictions: pd.DataFrame | None
    predictions_digest: str | None
    """First letters of the SHA-256 of each fold's table."""
    histories: dict[TrainingKey, pd.DataFrame]
    explanations: list[Json] | None
    explanations_folder: Path
    config: Json | None

    @property
    def headline_split(self) -> str:
        """Test where there is one."""
        return next(split for split in ("test", "val", "train") if split in self.metrics)

    @property
    def headline_level(self) -> str:
        """Patients where each has one label."""
        return PATIENT if has_values(self.metrics[self.headline_split][PATIENT]) else SCAN

    @property
    def headline(self) -> Json:
        """Metrics by name."""
        return self.metrics[self.headline_split][self.headline_level]


def gather_cohort(paths: CohortPaths) -> CohortFacts:
    return CohortFacts(
        table=read_table(paths.cohort),
        ingest=read_json(paths.ingest) if paths.ingest.is_file() else None,
        splits=read_table(paths.splits),
        leakage=read_json(paths.leakage) if paths.leakage.is_file() else None,
        plan=read_yaml(paths.plan) if paths.plan.is_file() else None,
        num_folds=len(fold_numbers(read_splits(paths.splits))) if paths.splits.is_file() else None,
    )


def gather_run(name: str, paths: RunPaths, trainings: Sequence[TrainingKey], task: str = "auto") -> RunFacts:
    """Only metrics.json must be there; `task` is the cohort's."""
    tables = [paths.predictions(key) for key in trainings]
    predicted = all(table.is_file() for table in tables)
    evaluation, first = paths.evaluation, paths.training(trainings[0])
    captions = paths.explanations / "captions.json"
    audits = read_json(paths.audits) if paths.audits.is_file() else None
    return RunFacts(
        name=name,
        metrics=read_metrics(evaluation.metrics),
        plots={plot: pd.read_csv(path) for plot in PLOTS if (path := evaluation.plot(plot)).is_file()},
        operating_points=read_json(evaluation.operating_point) if evaluation.operating_point.is_file() else None,
        calibrations=read_json(evaluation.calibration) if evaluation.calibration.is_file() else None,
        conformal=read_json(evaluation.conformal) if evaluation.conformal.is_file() else None,
        models=read_filled(evaluation.models),
        looks=count_recorded_evaluations(paths.looks),
        subgroups=read_filled(evaluation.subgroups),
        floors=gather_baselines(audits, evaluation.baselines),
        audits=audits,
        doubtful_labels=read_labels(paths.doubtful_labels),
        predictions=read_folds(tables, several_labels=task == MULTILABEL) if predicted else None,
        predictions_digest=", ".join(sha256(table)[:12] for table in tables) if predicted else None,
        histories={key: pd.read_csv(path) for key in trainings if (path := paths.training(key).history).is_file()},
        explanations=read_json(captions) if captions.is_file() else None,
        explanations_folder=paths.explanations,
        config=read_yaml(first.config) if first.config.is_file() else None,
    )


def gather_baselines(audits: Json | None, path: Path) -> pd.DataFrame | None:
    """The simple predictors of the audits; where they judged none, the floors of the evaluation."""
    predictors = audits["simple"]["figures"].get("predictors") if audits else None
    return pd.DataFrame(predictors) if predictors else read_filled(path)


def read_labels(path: Path) -> pd.DataFrame | None:
    """doubtful_labels.csv with ids and labels as text."""
    texts = dict.fromkeys((SCAN_ID, PATIENT_ID, LABEL, "suggested"), str)
    return pd.read_csv(path, dtype=texts, keep_default_na=False) if path.is_file() else None


def read_filled(path: Path) -> pd.DataFrame | None:
    """A table of figures; None if it is not there or has no rows."""
    table = pd.read_csv(path) if path.is_file() else None
    return None if table is None or table.empty else table


def read_table(path: Path) -> pd.DataFrame | None:
    """All text, so that ids stay as they are."""
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else None
