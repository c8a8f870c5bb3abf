"""Collect the payloads of all trainings: results, predictions, cost, and artifacts with their DVC hash and commit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import Config, Tracking
from pipeline.config.experiments import Experiments, strictest
from pipeline.core.columns import SCAN_ID
from pipeline.core.io import read_json, read_yaml
from pipeline.core.paths import Artifacts, CohortPaths, RunPaths
from pipeline.core.provenance import git_revision
from pipeline.store.store import Store
from pipeline.tracking.payload import Artifact, RunPayload, summary_payload, training_payload
from pipeline.tracking.privacy import PublicPages, read_key, read_public_pages
from pipeline.tracking.results import (
    FinishedTraining,
    Results,
    add_images,
    best_training,
    cost_metrics,
    public_predictions,
    read_ids,
    read_results,
    read_thresholds,
    read_trained_run,
)
from pipeline.tracking.step_log import best_metrics, metrics_by_step, read_steps


@dataclass(frozen=True)
class DvcOutputs:
    """The outputs of all stages as dvc.lock records them."""

    paths: Artifacts
    commit: str
    outputs: dict[str, dict[str, Any]]
    """Entries of dvc.lock by path."""

    def origin(self, path: Path) -> dict[str, Any]:
        """Path, hash and size of a file or folder; hash and size are None if a stage was run without DVC."""
        name = path.relative_to(self.paths.root).as_posix()
        entry = self.outputs.get(name, {})
        return {"dvc_path": name, "dvc_md5": entry.get("md5"), "size": entry.get("size")}


def read_dvc_outputs(paths: Artifacts) -> DvcOutputs:
    """Without dvc.lock no output has a hash."""
    lock = paths.root / "dvc.lock"
    content = read_yaml(lock) if lock.is_file() else None
    stages = content.get("stages", {}) if isinstance(content, dict) else {}
    entries = [entry for stage in stages.values() for entry in stage.get("outs", [])]
    return DvcOutputs(paths, git_revision(paths.root), {entry["path"]: entry for entry in entries})


def input_artifacts(outputs: DvcOutputs, cohort: str) -> list[Artifact]:
    """References to the cohort that a training used, without its scans or ids."""
    paths: CohortPaths = outputs.paths.cohort(cohort)
    sources = {
        "raw": ("dataset", paths.raw),
        "preprocessed": ("dataset", paths.preprocessed),
        "split": ("split", paths.splits),
    }
    return [
        Artifact(f"{cohort}-{name}", kind, outputs.origin(path), {"git_commit": outputs.commit}, is_input=True)
        for name, (kind, path) in sources.items()
    ]


@dataclass(frozen=True)
class TrackedExperiment:
    """Results, trainings and report of one experiment on a cohort."""

    name: str
    cohort: str
    tracking: Tracking
    run: RunPaths
    report: Path
    page: str | None
    """The report without ids, where images may be sent."""
    results: Results
    trainings: list[FinishedTraining]


def collect_payloads(experiments: Experiments, last_steps: Mapping[str, int]) -> list[RunPayload]:
    """A payload for each training, and one over all of them; `last_steps` are those of runs that were sent before."""
    main, paths = experiments.main, Artifacts(experiments.root)
    outputs, key = read_dvc_outputs(paths), read_key(paths.pseudonym_key)
    pages = read_public_pages(paths.cohort(main.cohort.name).cohort, key)
    found = [read_experiment(main, config, paths, pages) for config in experiments.configs.values()]
    payloads = [collect_training(each, trained, outputs, key) for each in found for trained in each.trainings]
    payloads.append(collect_summary(main, found))
    return [replace(each, after_step=max(each.after_step, last_steps.get(each.run_id, -1))) for each in payloads]


def read_experiment(main: Config, config: Config, paths: Artifacts, pages: PublicPages) -> TrackedExperiment:
    """`main` names the cohort and the trainings, `config` the experiment and what of it may be sent."""
    name, cohort = config.name, main.cohort.name
    run, report = paths.run(cohort, name), paths.report(cohort, name)
    trainings = [read_trained_run(run.training(key)) for key in main.training_keys]
    page = pages.anonymize(report) if config.tracking.log_images else None
    return TrackedExperiment(name, cohort, config.tracking, run, report, page, read_results(run), trainings)


def collect_training(
    experiment: TrackedExperiment, trained: FinishedTraining, outputs: DvcOutputs, key: bytes
) -> RunPayload:
    """Predictions, cost and artifacts of one training; the results too if the experiment has no other training."""
    steps, files = read_steps(trained.files.steps), trained.files
    is_only = len(experiment.trainings) == 1
    results = experiment.results if is_only else Results({}, {}, {})
    settings, (table, public) = experiment.tracking, read_public_predictions(experiment, trained, key)
    cost = cost_metrics(steps, assumed_watts=settings.assumed_watts)
    shown = predictions_with_images(public, table[SCAN_ID].tolist(), experiment, trained, outputs)
    return replace(
        training_payload(trained.config, trained.run_id, trained.key),
        tracking=settings,
        summary={**best_metrics(read_json(files.best_epoch)), **results.summary, **cost},
        charts=results.charts,
        tables={**results.tables, "predictions": shown},
        pages={"report": experiment.page} if experiment.page and is_only else {},
        artifacts=[
            *input_artifacts(outputs, experiment.cohort),
            *output_artifacts(experiment, trained, public, outputs),
        ],
        history=metrics_by_step(files, steps),
        after_step=int(steps["step"].max()) if len(steps) else -1,
    )


def read_public_predictions(
    experiment: TrackedExperiment, trained: FinishedTraining, key: bytes
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The predictions of a training, with its ids and with pseudonyms."""
    table = read_ids(experiment.run.predictions(trained.config.training_key))
    is_multilabel = trained.config.cohort.task == "multilabel"
    thresholds = read_thresholds(experiment.run.evaluation.operating_point, is_multilabel=is_multilabel)
    return table, public_predictions(table, key, thresholds)


def predictions_with_images(
    public: pd.DataFrame,
    scan_ids: list[str],
    experiment: TrackedExperiment,
    trained: FinishedTraining,
    outputs: DvcOutputs,
) -> pd.DataFrame:
    """The table with a thumbnail per scan, if images may be sent; `scan_ids` are the ids behind its pseudonyms."""
    if not experiment.tracking.log_images:
        return public
    store = Store(outputs.paths.cohort(experiment.cohort).preprocessed)
    return add_images(public, scan_ids, store, experiment.run.explanations, trained.config.training_key)


def output_artifacts(
    experiment: TrackedExperiment, trained: FinishedTraining, public: pd.DataFrame, outputs: DvcOutputs
) -> list[Artifact]:
    """Model, predictions and report; the content of the report only if images may be sent."""
    config = trained.config
    content: dict[str, tuple[Path, dict[str, Any]]] = {
        "model": (trained.files.best, {"file": trained.files.best}),
        "predictions": (experiment.run.predictions(config.training_key), {"table": public}),
        "report": (experiment.report.parent, {"page": experiment.page}),
    }
    best = ("best",) if trained is best_training(experiment.trainings) else ()
    return [
        Artifact(
            f"{config.cohort.name}-{config.name}-{kind}",
            kind,
            outputs.origin(source),
            {"git_commit": outputs.commit, "run_id": trained.run_id},
            aliases=("latest", config.training_key.name, *best),
            **payload,
        )
        for kind, (source, payload) in content.items()
    ]


def collect_summary(config: Config, experiments: list[TrackedExperiment]) -> RunPayload:
    """All experiments that may be sent, each over all its trainings."""
    experiments = [each for each in experiments if each.tracking.mode != "none"]
    mode = strictest(*(each.tracking.mode for each in experiments))
    trainings = [
        {
            "experiment": each.name,
            "fold": trained.config.fold,
            "seed": trained.config.seed,
            "run_id": trained.run_id,
            "val_score": trained.score,
        }
        for each in experiments
        for trained in each.trainings
    ]
    named = [(each.name, each.results) for each in experiments]
    return replace(
        summary_payload(config, [row["run_id"] for row in trainings]),
        tracking=config.tracking.model_copy(update={"mode": mode}),
        summary={f"{name}/{key}": value for name, found in named for key, value in found.summary.items()},
        charts={f"{name}/{key}": chart for name, found in named for key, chart in found.charts.items()},
        tables={
            "trainings": pd.DataFrame(trainings),
            **{f"{name}/{key}": table for name, found in named for key, table in found.tables.items()},
        },
        pages={f"{each.name}/report": each.page for each in experiments if each.page and len(each.trainings) > 1},
    )
