"""Projects to track, and offline runs as wandb's own command line reads them back."""

import base64
import json
import shutil
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tests.conftest import Commands


@dataclass(frozen=True)
class OfflineRun:
    """All parts of one W&B run below a project's wandb/ folder, oldest first."""

    folder: Path
    run_id: str

    @cached_property
    def parts(self) -> list[Path]:
        return sorted((self.folder / "wandb").glob(f"offline-run-*-{self.run_id}"))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        commands, found = Commands(self.folder), []
        for part in self.parts:
            done = commands.run(["wandb", "leet", "inspect", "--json", str(part)])
            assert done.returncode == 0, done.stderr
            found += [json.loads(line) for line in done.stdout.splitlines()]
        return found

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def history(self) -> pd.DataFrame:
        """A row a step; figures that a step lacks are NaN."""
        return pd.DataFrame([row["item"] for row in self.of_kind("history")])

    @property
    def summary(self) -> dict[str, Any]:
        return {key: value for update in self.of_kind("summary") for key, value in update["update"].items()}

    @property
    def config(self) -> dict[str, Any]:
        """As it was when each sitting began, with what came later."""
        updates = [*(run.get("config", {"update": {}}) for run in self.of_kind("run")), *self.of_kind("config")]
        return {key: value for update in updates for key, value in update["update"].items()}

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        """By name, metadata read."""
        found = {artifact["name"]: artifact for artifact in self.of_kind("artifact")}
        return {
            name: {**artifact, "metadata": json.loads(artifact.get("metadata") or "{}")}
            for name, artifact in found.items()
        }

    def table(self, name: str) -> pd.DataFrame:
        """The table that was logged last under a name, from the file that its history row names."""
        rows = [row["item"] for row in self.of_kind("history") if f"{name}.path" in row["item"]]
        files = [part / "files" / rows[-1][f"{name}.path"] for part in self.parts]
        content = json.loads(next(file for file in files if file.is_file()).read_text())
        return pd.DataFrame(content["data"], columns=content["columns"])


def copy_untrained(finished: Path, folder: Path) -> Path:
    """A project whose scans are prepared and where nothing is trained or tracked."""
    shutil.copytree(finished, folder, symlinks=True)
    for name in ("runs", "wandb", "tracking"):
        shutil.rmtree(folder / name)
    return folder


def hex_digest(artifact: dict[str, Any], path: str) -> str:
    """MD5 of a file of an artifact."""
    entry = next(entry for entry in artifact["manifest"]["contents"] if entry["path"] == path)
    return base64.b64decode(entry["digest"]).hex()


def sent_bytes(folder: Path) -> bytes:
    """Every byte that an upload reads: the runs' records, their media, and the files of their artifacts."""
    wandb = folder / "wandb"
    files = [*wandb.glob("*/*.wandb"), *wandb.glob("*/files/**/*"), *wandb.glob("artifacts/staging/*")]
    return b"".join(content(path) for path in files if path.is_file())


def content(path: Path) -> bytes:
    """The file; of a checkpoint all but its weights, in which any few letters are found by chance."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist() if "/data/" not in name)
