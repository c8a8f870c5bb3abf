"""What each run gets beyond its training, gathered from files and free of ids before anything is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts import SCAN_ID, Artifacts, RunPaths
from pipeline.config import Config, Tracking
from pipeline.resolve import resolve
from pipeline.scans.store import Store
from pipeline.tracking.contents import Artifact, Parcel
from pipeline.tracking.cost import cost_of
from pipeline.tracking.lineage import Graph, read_graph, used_artifacts
from pipeline.tracking.naming import fold_parcel, summary_parcel
from pipeline.tracking.predictions import public_predictions, read_ids, with_pictures
from pipeline.tracking.results import Results, read_results
from pipeline.tracking.step_log import read_steps
from pipeline.tracking.trained import Trained, best_of, read_trained

MODES = ("auto", "offline", "none")
"""From the widest to the narrowest."""


@dataclass(frozen=True)
class Experiment:
    """All that is known of one experiment on a cohort."""

    name: str
    cohort: str
    tracking: Tracking
    run: RunPaths
    report: Path
    results: Results
    trainings: list[Trained]


def pack(config: Config, last_steps: Mapping[str, int]) -> list[Parcel]:
    """A parcel for each training, and one over all of them; `last_steps` are those of runs that were sent before."""
    paths = Artifacts(config.root)
    graph = read_graph(paths)
    experiments = [read_experiment(config, paths, name) for name in config.experiments or (config.name,)]
    parcels = [pack_fold(each, trained, graph) for each in experiments for trained in each.trainings]
    parcels.append(pack_summary(config, experiments))
    return [replace(p, after_step=max(p.after_step, last_steps.get(p.run_id, -1))) for p in parcels]


def read_experiment(config: Config, paths: Artifacts, name: str) -> Experiment:
    cohort = config.cohort.name
    run = paths.run(cohort, name)
    trainings = [read_trained(run.fold(fold)) for fold in config.folds]
    tracking, report = tracking_of(config, name), paths.report(cohort, name)
    return Experiment(name, cohort, tracking, run, report, read_results(run), trainings)


def tracking_of(config: Config, name: str) -> Tracking:
    """What the experiment's config says today of what may leave; what this command was given can only narrow it."""
    given = config.tracking
    if name == config.name:
        return given
    own = resolve(f"{name}.yaml", [f"cohort={config.cohort.name}"]).tracking
    mode = max(own.mode, given.mode, key=MODES.index)
    return own.model_copy(update={"mode": mode, "log_images": own.log_images and given.log_images})


def pack_fold(experiment: Experiment, trained: Trained, graph: Graph) -> Parcel:
    """Predictions, cost and artifacts of one training; the results too where it is all there is of the experiment."""
    steps = read_steps(trained.files.steps)
    is_all = len(experiment.trainings) == 1
    results = experiment.results if is_all else Results({}, {}, {})
    settings, (table, public) = experiment.tracking, read_public(experiment, trained)
    return replace(
        fold_parcel(trained.config, trained.run_id),
        tracking=settings,
        summary={**results.summary, **cost_of(steps, assumed_watts=settings.assumed_watts)},
        charts=results.charts,
        tables={**results.tables, "predictions": illustrated(public, table[SCAN_ID].tolist(), experiment, graph)},
        pages={"report": experiment.report} if settings.log_images and is_all else {},
        artifacts=[*used_artifacts(graph, experiment.cohort), *made_artifacts(experiment, trained, public, graph)],
        after_step=int(steps["step"].max()) if len(steps) else -1,
    )


def read_public(experiment: Experiment, trained: Trained) -> tuple[pd.DataFrame, pd.DataFrame]:
    """predictions.csv of a fold, with its ids and with pseudonyms."""
    table = read_ids(experiment.run.predictions(trained.config.fold))
    is_multilabel = trained.config.cohort.task == "multilabel"
    return table, public_predictions(table, experiment.tracking.project, is_multilabel=is_multilabel)


def illustrated(public: pd.DataFrame, scan_ids: list[str], experiment: Experiment, graph: Graph) -> pd.DataFrame:
    """The table with a thumbnail a scan, where pixels may leave; `scan_ids` are the ids behind its pseudonyms."""
    if not experiment.tracking.log_images:
        return public
    store = Store(graph.paths.cohort(experiment.cohort).preprocessed)
    return with_pictures(public, scan_ids, store, experiment.run.explanations)


def made_artifacts(experiment: Experiment, trained: Trained, public: pd.DataFrame, graph: Graph) -> list[Artifact]:
    """Model, predictions and report; the report's bytes only where pixels may leave."""
    config = trained.config
    content: dict[str, tuple[Path, dict[str, Any]]] = {
        "model": (trained.files.best, {"file": trained.files.best}),
        "predictions": (experiment.run.predictions(config.fold), {"table": public}),
        "report": (experiment.report.parent, {"file": experiment.report} if experiment.tracking.log_images else {}),
    }
    best = ("best",) if trained is best_of(experiment.trainings) else ()
    return [
        Artifact(
            f"{config.cohort.name}-{config.name}-{kind}",
            kind,
            graph.origin(source),
            {"git_commit": graph.commit, "run_id": trained.run_id},
            aliases=("latest", f"fold-{config.fold}", *best),
            **bytes_or_rows,
        )
        for kind, (source, bytes_or_rows) in content.items()
    ]


def pack_summary(config: Config, experiments: list[Experiment]) -> Parcel:
    """All experiments beside each other, each over all its folds."""
    trainings = [
        {"experiment": each.name, "fold": trained.config.fold, "run_id": trained.run_id, "val_score": trained.score}
        for each in experiments
        for trained in each.trainings
    ]
    parcel = summary_parcel(config, [row["run_id"] for row in trainings])
    named = [(each.name, each.results) for each in experiments]
    return replace(
        parcel,
        summary={f"{name}/{key}": value for name, found in named for key, value in found.summary.items()},
        charts={f"{name}/{key}": chart for name, found in named for key, chart in found.charts.items()},
        tables={
            "trainings": pd.DataFrame(trainings),
            **{f"{name}/{key}": table for name, found in named for key, table in found.tables.items()},
        },
    )
