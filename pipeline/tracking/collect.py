"""Where every artifact of a run comes from, by the DVC graph: path and hash as dvc.lock has them, and git commit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import Config, Tracking
from pipeline.core.columns import SCAN_ID
from pipeline.core.io import read_json, read_yaml
from pipeline.core.paths import Artifacts, CohortPaths, RunPaths
from pipeline.reporting.sections.record import revision
from pipeline.store.store import Store
from pipeline.tracking.payload import Artifact, Parcel, fold_parcel, summary_parcel
from pipeline.tracking.predictions import public_predictions, read_ids, read_thresholds, with_pictures
from pipeline.tracking.preview import names_of, narrowest, tracking_of
from pipeline.tracking.privacy import Pages, pages_of, read_key
from pipeline.tracking.results import Results, Trained, best_of, cost_of, read_results, read_trained
from pipeline.tracking.step_log import best_figures, figures_by_step, read_steps


@dataclass(frozen=True)
class Graph:
    """Outputs of all stages as DVC last saw them."""

    paths: Artifacts
    commit: str
    outputs: dict[str, dict[str, Any]]
    """Entries of dvc.lock by path."""

    def origin(self, path: Path) -> dict[str, Any]:
        """What tells this very file or folder from any other; of a stage run by hand, its path alone."""
        name = path.relative_to(self.paths.root).as_posix()
        entry = self.outputs.get(name, {})
        return {"dvc_path": name, "dvc_md5": entry.get("md5"), "size": entry.get("size")}


def read_graph(paths: Artifacts) -> Graph:
    """Works without DVC too: then nothing has a hash."""
    lock = paths.root / "dvc.lock"
    stages = read_yaml(lock)["stages"] if lock.is_file() else {}
    entries = [entry for stage in stages.values() for entry in stage.get("outs", [])]
    return Graph(paths, revision(paths.root), {entry["path"]: entry for entry in entries})


def used_artifacts(graph: Graph, cohort: str) -> list[Artifact]:
    """The cohort as a training used it; references, without a scan or an id."""
    paths: CohortPaths = graph.paths.cohort(cohort)
    sources = {
        "raw": ("dataset", paths.raw),
        "preprocessed": ("dataset", paths.preprocessed),
        "split": ("split", paths.splits),
    }
    return [
        Artifact(f"{cohort}-{name}", kind, graph.origin(path), {"git_commit": graph.commit}, is_input=True)
        for name, (kind, path) in sources.items()
    ]


@dataclass(frozen=True)
class Experiment:
    """All that is known of one experiment on a cohort."""

    name: str
    cohort: str
    tracking: Tracking
    run: RunPaths
    report: Path
    page: str | None
    """The report without ids, where pixels may leave."""
    results: Results
    trainings: list[Trained]


def pack(config: Config, last_steps: Mapping[str, int]) -> list[Parcel]:
    """A parcel for each training, and one over all of them; `last_steps` are those of runs that were sent before."""
    paths = Artifacts(config.root)
    graph, key = read_graph(paths), read_key(paths.pseudonym_key)
    pages = pages_of(paths.cohort(config.cohort.name).cohort, key)
    experiments = [read_experiment(config, paths, name, pages) for name in names_of(config)]
    parcels = [pack_fold(each, trained, graph, key) for each in experiments for trained in each.trainings]
    parcels.append(pack_summary(config, experiments))
    return [replace(p, after_step=max(p.after_step, last_steps.get(p.run_id, -1))) for p in parcels]


def read_experiment(config: Config, paths: Artifacts, name: str, pages: Pages) -> Experiment:
    cohort = config.cohort.name
    run = paths.run(cohort, name)
    trainings = [read_trained(run.fold(fold)) for fold in config.folds]
    tracking, report = tracking_of(config, name), paths.report(cohort, name)
    page = pages.public(report) if tracking.log_images else None
    return Experiment(name, cohort, tracking, run, report, page, read_results(run), trainings)


def pack_fold(experiment: Experiment, trained: Trained, graph: Graph, key: bytes) -> Parcel:
    """Predictions, cost and artifacts of one training; the results too where it is all there is of the experiment."""
    steps, files = read_steps(trained.files.steps), trained.files
    is_all = len(experiment.trainings) == 1
    results = experiment.results if is_all else Results({}, {}, {})
    settings, (table, public) = experiment.tracking, read_public(experiment, trained, key)
    cost = cost_of(steps, assumed_watts=settings.assumed_watts)
    pictured = illustrated(public, table[SCAN_ID].tolist(), experiment, trained, graph)
    return replace(
        fold_parcel(trained.config, trained.run_id, trained.key),
        tracking=settings,
        summary={**best_figures(read_json(files.best_epoch)), **results.summary, **cost},
        charts=results.charts,
        tables={**results.tables, "predictions": pictured},
        pages={"report": experiment.page} if experiment.page and is_all else {},
        artifacts=[*used_artifacts(graph, experiment.cohort), *made_artifacts(experiment, trained, public, graph)],
        history=figures_by_step(files, steps),
        after_step=int(steps["step"].max()) if len(steps) else -1,
    )


def read_public(experiment: Experiment, trained: Trained, key: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """predictions.csv of a fold, with its ids and with pseudonyms."""
    table = read_ids(experiment.run.predictions(trained.config.fold))
    is_multilabel = trained.config.cohort.task == "multilabel"
    thresholds = read_thresholds(experiment.run.operating_point, is_multilabel=is_multilabel)
    return table, public_predictions(table, key, thresholds)


def illustrated(
    public: pd.DataFrame, scan_ids: list[str], experiment: Experiment, trained: Trained, graph: Graph
) -> pd.DataFrame:
    """The table with a thumbnail a scan, where pixels may leave; `scan_ids` are the ids behind its pseudonyms."""
    if not experiment.tracking.log_images:
        return public
    store = Store(graph.paths.cohort(experiment.cohort).preprocessed)
    return with_pictures(public, scan_ids, store, experiment.run.explanations, trained.config.fold)


def made_artifacts(experiment: Experiment, trained: Trained, public: pd.DataFrame, graph: Graph) -> list[Artifact]:
    """Model, predictions and report; the report's content only where pixels may leave."""
    config = trained.config
    content: dict[str, tuple[Path, dict[str, Any]]] = {
        "model": (trained.files.best, {"file": trained.files.best}),
        "predictions": (experiment.run.predictions(config.fold), {"table": public}),
        "report": (experiment.report.parent, {"page": experiment.page}),
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
    """All experiments that may be told of beside each other, each over all its folds."""
    experiments = [each for each in experiments if each.tracking.mode != "none"]
    mode = narrowest(*(each.tracking.mode for each in experiments))
    trainings = [
        {"experiment": each.name, "fold": trained.config.fold, "run_id": trained.run_id, "val_score": trained.score}
        for each in experiments
        for trained in each.trainings
    ]
    parcel = summary_parcel(config, [row["run_id"] for row in trainings])
    named = [(each.name, each.results) for each in experiments]
    return replace(
        parcel,
        tracking=config.tracking.model_copy(update={"mode": mode}),
        summary={f"{name}/{key}": value for name, found in named for key, value in found.summary.items()},
        charts={f"{name}/{key}": chart for name, found in named for key, chart in found.charts.items()},
        tables={
            "trainings": pd.DataFrame(trainings),
            **{f"{name}/{key}": table for name, found in named for key, table in found.tables.items()},
        },
        pages={f"{each.name}/report": each.page for each in experiments if each.page and len(each.trainings) > 1},
    )
