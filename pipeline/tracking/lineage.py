"""Where every artifact of a run comes from, by the DVC graph: path and hash as dvc.lock has them, and git commit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.io import read_yaml
from pipeline.core.paths import Artifacts, CohortPaths
from pipeline.reporting.sections.record import revision
from pipeline.tracking.contents import Artifact


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
