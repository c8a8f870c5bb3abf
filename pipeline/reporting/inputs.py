"""Everything a report shows, read from the files of a cohort and its runs; what is missing is None."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config
from pipeline.core.columns import LABEL, LABEL_SEPARATOR, NO_LABEL
from pipeline.core.folds import fold_numbers, read_splits
from pipeline.core.io import read_json, read_yaml, sha256
from pipeline.core.paths import Artifacts, CohortPaths, RunPaths, TrainingKey, TrainingPaths
from pipeline.core.tables import parse_values, read_table
from pipeline.evaluation.evaluate import PATIENT, SCAN, Metrics
from pipeline.evaluation.locked_test_set import recorded_evaluations
from pipeline.evaluation.outputs import has_values, read_metrics
from pipeline.evaluation.predictions import read_folds
from pipeline.evaluation.settings import MULTILABEL
from pipeline.store.store import Store

Json = dict[str, Any]
PLOTS = (
    "roc",
    "precision_recall",
    "calibration",
    "calibration_after",
    "calibration_smooth",
    "calibration_smooth_after",
    "decision_curve",
    "operating_points",
    "confusion",
    "scores",
)


@dataclass(frozen=True)
class CohortInputs:
    """The scans of a cohort, and what ingest, split and plan wrote about them."""

    table: pd.DataFrame | None
    ingest: Json | None
    splits: pd.DataFrame | None
    leakage: Json | None
    plan: Json | None
    num_folds: int | None = None
    """How many can be trained, including those of repeats and of nested parts."""

    @property
    def is_multilabel(self) -> bool:
        return (self.ingest or {}).get("task") == MULTILABEL

    @property
    def classes(self) -> list[str]:
        return [] if self.table is None else self.classes_in(self.table)

    def classes_in(self, table: pd.DataFrame) -> list[str]:
        """Ingest's order, the positive class last, else alphabetical; with several labels `none` comes last."""
        classes = (self.ingest or {}).get("classes") or sorted(table[LABEL].unique())
        return [*classes, NO_LABEL] if self.is_multilabel and NO_LABEL in set(table[LABEL]) else classes

    def memberships(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The same rows, with several labels one for each class of a scan."""
        if not self.is_multilabel:
            return rows
        return rows.assign(**{LABEL: rows[LABEL].str.split(LABEL_SEPARATOR)}).explode(LABEL)


@dataclass(frozen=True)
class RunInputs:
    """One experiment: metrics, plot tables, audits, explanations and training history."""

    name: str
    metrics: Metrics
    plots: dict[str, pd.DataFrame]
    panel: pd.DataFrame | None
    """The headline panel."""
    case_mix: pd.DataFrame | None
    participant_flow: pd.DataFrame | None
    operating_points: Json | None
    calibrations: Json | None
    conformal: Json | None
    models: pd.DataFrame | None
    num_test_evaluations: int
    """How many sets of predictions of this test set were evaluated so far, over all experiments."""
    subgroups: pd.DataFrame | None
    baselines: pd.DataFrame | None
    """From the audits, which include simple image features, else from the evaluation."""
    audits: Json | None
    doubtful_labels: pd.DataFrame | None
    predictions: pd.DataFrame | None
    predictions_digest: str | None
    """First digits of the SHA-256 of each training's table."""
    histories: dict[TrainingKey, pd.DataFrame]
    members: dict[TrainingKey, Json]
    """How much each member counts, of the trainings of a stack."""
    predicted_by: dict[TrainingKey, Json]
    """The checkpoint of each training's predictions, its parity with raw scans and its input guard."""
    explanations: list[Json] | None
    explanations_folder: Path
    config: Json | None
    features: pd.DataFrame | None = None
    """What the first training's classifier reads of every scan, if `embed` wrote it for the predicted checkpoint."""

    @property
    def headline_split(self) -> str:
        """Test if there is one, else validation."""
        return next(split for split in ("test", "val", "train") if split in self.metrics)

    @property
    def headline_level(self) -> str:
        """Patients if each has one label, else scans."""
        return PATIENT if has_values(self.metrics[self.headline_split][PATIENT]) else SCAN

    @property
    def headline(self) -> Json:
        """Metrics by name."""
        return self.metrics[self.headline_split][self.headline_level]


@dataclass(frozen=True)
class ReportInputs:
    """What the sections of a page may read."""

    config: Config
    cohort: CohortInputs
    store: Store
    runs: tuple[RunInputs, ...] = ()
    """All experiments of the report."""
    run: RunInputs | None = None
    """The experiment of the page; None on the pages of the cohort and of all experiments."""


def read_report_inputs(config: Config) -> ReportInputs:
    """The inputs of the pages of a cohort and of all its experiments."""
    paths, name = Artifacts(config.root), config.cohort.name
    experiments = config.experiments or (config.name,)
    return ReportInputs(
        config=config,
        cohort=read_cohort_inputs(paths.cohort(name)),
        store=Store(paths.cohort(name).preprocessed),
        runs=tuple(
            read_run_inputs(experiment, paths.run(name, experiment), config.training_keys, config.cohort.task)
            for experiment in experiments
        ),
    )


def read_cohort_inputs(paths: CohortPaths) -> CohortInputs:
    return CohortInputs(
        table=read_cohort(paths.cohort) if paths.cohort.is_file() else None,
        ingest=read_json(paths.ingest, "classes") if paths.ingest.is_file() else None,
        splits=read_text_table(paths.splits),
        leakage=read_json(paths.leakage, "verdict") if paths.leakage.is_file() else None,
        plan=read_yaml(paths.plan) if paths.plan.is_file() else None,
        num_folds=len(fold_numbers(read_splits(paths.splits))) if paths.splits.is_file() else None,
    )


def read_run_inputs(name: str, paths: RunPaths, trainings: Sequence[TrainingKey], task: str = "auto") -> RunInputs:
    """Only metrics.json is required; `task` is the cohort's."""
    tables = [paths.predictions(key) for key in trainings]
    predicted = all(table.is_file() for table in tables)
    evaluation, first = paths.evaluation, paths.training(trainings[0])
    captions = paths.explanations / "captions.json"
    audits = read_json(paths.audits) if paths.audits.is_file() else None
    return RunInputs(
        name=name,
        metrics=read_metrics(evaluation.metrics),
        plots={plot: read_results(path) for plot in PLOTS if (path := evaluation.plot(plot)).is_file()},
        panel=read_metrics_table(evaluation.headline),
        case_mix=read_metrics_table(evaluation.case_mix),
        participant_flow=read_metrics_table(evaluation.participant_flow),
        operating_points=read_json(evaluation.operating_point) if evaluation.operating_point.is_file() else None,
        calibrations=read_json(evaluation.calibration) if evaluation.calibration.is_file() else None,
        conformal=read_json(evaluation.conformal) if evaluation.conformal.is_file() else None,
        models=read_metrics_table(evaluation.models),
        num_test_evaluations=len(recorded_evaluations(paths.looks)),
        subgroups=read_metrics_table(evaluation.subgroups),
        baselines=read_baselines(audits, evaluation.baselines),
        audits=audits,
        doubtful_labels=read_labels(paths.doubtful_labels),
        predictions=read_folds(tables, several_labels=task == MULTILABEL) if predicted else None,
        predictions_digest=", ".join(sha256(table)[:12] for table in tables) if predicted else None,
        members={key: members for key in trainings if (members := read_members(paths.training(key)))},
        histories={key: read_results(path) for key in trainings if (path := paths.training(key).history).is_file()},
        predicted_by={key: read_json(path) for key in trainings if (path := paths.predicted_by(key)).is_file()},
        explanations=read_json(captions) if captions.is_file() else None,
        explanations_folder=paths.explanations,
        config=read_yaml(first.config) if first.config.is_file() else None,
        features=read_run_features(paths, trainings[0]),
    )


def read_run_features(paths: RunPaths, key: TrainingKey) -> pd.DataFrame | None:
    """The features of a training; None if they are missing, or of another checkpoint than its predictions."""
    table, predicted_by = paths.features(key), paths.predicted_by(key)
    if not (table.is_file() and predicted_by.is_file()):
        return None
    features = pd.read_parquet(table)
    return features if features.attrs.get("checkpoint_sha256") == read_json(predicted_by).get("checkpoint") else None


def read_members(training: TrainingPaths) -> Json:
    """The members of a stack from best.json; none for another network, or before its training is closed."""
    return read_json(training.best_epoch).get("members", {}) if training.best_epoch.is_file() else {}


def read_baselines(audits: Json | None, path: Path) -> pd.DataFrame | None:
    """The simple predictors of the audits, or if they have none the baselines of the evaluation."""
    predictors = audits["simple"]["metrics"].get("predictors") if audits else None
    return pd.DataFrame(predictors) if predictors else read_metrics_table(path)


def read_labels(path: Path) -> pd.DataFrame | None:
    """doubtful_labels.csv with ids and labels as text."""
    return read_results(path) if path.is_file() else None


def read_metrics_table(path: Path) -> pd.DataFrame | None:
    """A table of metrics; None if it is missing or empty."""
    table = read_results(path) if path.is_file() else None
    return None if table is None or table.empty else table


def read_text_table(path: Path) -> pd.DataFrame | None:
    """A table with all cells as text, so that ids stay unchanged; None if it is missing."""
    return read_table(path) if path.is_file() else None


def read_results(path: Path) -> pd.DataFrame:
    """A table of results, with numbers in its columns of numbers."""
    return parse_values(read_table(path))
