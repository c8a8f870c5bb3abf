"""Fixtures that many tests share: a tiny cohort of real NIfTI files, and a folder to run commands in."""

import atexit
import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import nibabel
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from ruamel.yaml import YAML

from tests.fork_server import Fork

# Without its bytecode, the package would be compiled again in each of hundreds of processes.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples each time: a failure that nobody can repeat helps nobody.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).parents[1]
SERVER = "FORK_SERVER_OF_TESTS"
PLANTED_USER, PLANTED_HOST = "planted-user", "planted-host"

COHORT = """
source: {kind: folder, scans: $CUBES, table: $CUBES/labels.csv}
columns: {}
positive_class: cube
modality: MR
laterality: irrelevant
size_is_diagnostic: true
ingest: {}
split: {test_fraction: 0.34, num_folds: 2}
preprocess: {spacing_mm: [2, 2, 2], size_voxels: [16, 16, 16], intensity: {scheme: zscore}}
"""

EXPERIMENT = """
model: {name: resnet18, options: {spatial_dims: 3, depths: [1, 1, 1, 1], dims: [16, 32, 64, 128], stem_pool: false}}
augmentation: {strength: none}
training: {max_epochs: 3, batch_size: 4, accumulate: 1, learning_rate: 2e-3, batch_norm: keep}
evaluation: {num_bootstrap: 200}
explanation: {num_scans: 2}
tracking: {}
"""
MODEL = YAML(typ="safe", pure=True).load(EXPERIMENT)["model"]
"""The experiment's network: under a million parameters, with batch norm, and cubes learnt in three epochs."""


def write_cubes(folder: Path, num_patients: int = 24) -> None:
    """A scan or two a patient on oblique, flipped and anisotropic grids; every second patient has a bright cube."""
    generator = np.random.default_rng(0)
    rows = ["scan_id,patient_id,path,label,age"]
    (folder / "scans").mkdir(parents=True)
    for patient in range(num_patients):
        has_cube = patient % 2 == 1
        for session in range(1 + patient % 2):
            scan_id = f"p{patient:03d}_{session}"
            path = f"scans/{scan_id}.nii.gz"
            nibabel.save(cube_scan(generator, has_cube, variant=patient + session), folder / path)
            rows.append(f"{scan_id},p{patient:03d},{path},{'cube' if has_cube else 'plain'},{40 + patient}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@functools.cache
def cubes_of_this_process(num_patients: int) -> Path:
    """Written once, for others to copy."""
    folder = Path(tempfile.mkdtemp(prefix="cubes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_cubes(folder, num_patients)
    return folder


def cube_scan(generator: np.random.Generator, has_cube: bool, variant: int) -> nibabel.Nifti1Image:
    """A lumpy ball about 28 mm across in noise, no two alike; the cube measures 10 mm."""
    spacing = np.array([(1.5, 1.5, 1.5), (1.2, 1.2, 3.0), (2.0, 1.0, 1.5)][variant % 3])
    shape = np.round(36 / spacing).astype(int)
    position = (np.indices(shape).reshape(3, -1).T - (shape - 1) / 2) * spacing
    values = np.where(np.linalg.norm(position / generator.uniform(0.8, 1.1, 3), axis=1) < 14, 300.0, 0.0)
    for center in generator.uniform(-14, 14, (40, 3)):
        distance = np.linalg.norm(position - center, axis=1) / generator.uniform(2.5, 5)
        values += generator.uniform(-200, 200) * np.exp(-(distance**2)) * (values > 0)
    values += generator.normal(0, 20, len(position)).clip(-40)
    if has_cube:
        center = generator.uniform(-8, 8, 3)
        values[(np.abs(position - center) < 5).all(1)] += 300
    angle = 0.15 * (variant % 4)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    flips = np.diag([(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, 1, -1)][variant % 4])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ flips @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    return nibabel.Nifti1Image(values.reshape(shape).clip(0).astype(np.int16), affine)


def write_project(folder: Path, num_patients: int = 24) -> None:
    """Configs and params of a tiny experiment on the cubes, and the cubes themselves in folder/cubes."""
    (folder / "configs" / "cohorts").mkdir(parents=True)
    (folder / "configs" / "tiny.yaml").write_text(EXPERIMENT)
    (folder / "configs" / "cohorts" / "cubes.yaml").write_text(COHORT)
    (folder / "params.yaml").write_text("cohort: cubes\nexperiments: [tiny]\nfolds: [0]\nseeds: [0]\n")
    shutil.copytree(cubes_of_this_process(num_patients), folder / "cubes")


def start_fork_server() -> Path:
    """Folder of a `python` that runs modules and programs in forks of a process with the heavy libraries."""
    folder = Path(tempfile.mkdtemp(prefix="fork-server-"))
    server, socket = REPOSITORY / "tests" / "fork_server.py", folder / "socket"
    # The server ends when this process does and its end of the pipe is closed.
    process = subprocess.Popen([sys.executable, server, socket], stdin=subprocess.PIPE)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(process.kill)
    python = folder / "python"
    client = f'exec "{sys.executable}" -SE "{server}" "{socket}" "$@"'
    python.write_text(f'#!/bin/sh\ncase "$1" in -m | -u | *.py) {client} ;; esac\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


@functools.cache
def forking_python() -> Path:
    """Folder of the `python` that forks, once its server answers."""
    folder = Path(os.environ.get(SERVER) or start_fork_server())
    started = time.monotonic()
    while not (folder / "socket").exists():
        if time.monotonic() - started > 600:
            raise RuntimeError("tests/fork_server.py did not start; see its error above.")
        time.sleep(0.05)
    return folder


class Commands:
    """`command("train", "training.max_epochs=1")` runs `python -m pipeline.train …` in a folder, as a user would.

    Commands, other Python, and the stages that DVC runs, are forks of a process with the heavy libraries; `run` starts
    a new process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cache = str(folder / ".cache")
        caches = {"WANDB_CACHE_DIR": cache, "WANDB_DATA_DIR": cache, "MPLCONFIGDIR": cache}
        # What wandb is told by this machine, or by a run in this very process, is no part of a test.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        self.environment = {**inherited, **caches, "PYTHONPATH": str(REPOSITORY), "CUBES": str(folder / "cubes")}
        self.environment["PATH"] = f"{forking_python()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment |= {"DVC_SITE_CACHE_DIR": cache, "DVC_NO_ANALYTICS": "1"}
        # Looked for in what would be uploaded.
        self.environment |= {"USER": PLANTED_USER, "LOGNAME": PLANTED_USER, "HOSTNAME": PLANTED_HOST}

    def __call__(self, verb: str, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        done = self.python("-m", f"pipeline.{verb}", *words)
        if check and done.returncode:
            raise AssertionError(f"pipeline.{verb} {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
        return done

    def python(self, *words: str) -> subprocess.CompletedProcess:
        """`python -m …`, `python -c …` or `python program.py …`."""
        with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
            code = self.start(*words, stdout=stdout, stderr=stderr).wait()
            for file in (stdout, stderr):
                file.seek(0)
            return subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())

    def start(self, *words: str, stdout: IO | None = None, stderr: IO | None = None) -> Fork:
        """The same, not waited for; what it prints is lost where no file is given."""
        with open(os.devnull, "r+") as nothing:
            files = [(file or nothing).fileno() for file in (None, stdout, stderr)]
            return Fork(str(forking_python() / "socket"), list(words), str(self.folder), self.environment, files)

    def dvc(self, *words: str) -> str:
        """What `dvc …` prints; it must succeed."""
        done = self.run(["dvc", *words])
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, words: list[str]) -> subprocess.CompletedProcess:
        """Any program, in the same folder and environment."""
        return subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True)


def pytest_configure(config: pytest.Config) -> None:
    """One fork server for all processes of the tests, which find it by their environment."""
    if getattr(config.option, "numprocesses", None) and SERVER not in os.environ:
        os.environ[SERVER] = str(start_fork_server())


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: no search for garbage need look through them."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """As at the end of any process."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process is left alone with one at the end: those that wait for the finished project
    after the others, but for one, in which a process sets about making it."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    waiting = [item.path for item in items if "finished" in getattr(item, "fixturenames", ())]
    items.sort(key=lambda item: (item.path not in waiting[:1], item.path not in slow, item.path in waiting))


@pytest.fixture
def processes_for_short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes are started for any work, however little, and waited for, so that they do their part of it."""
    monkeypatch.setattr("pipeline.core.parallel.START_S", 0)
    monkeypatch.setattr("pipeline.core.parallel.PROBE_JOBS", 1)
    monkeypatch.setattr("pipeline.core.parallel.max_wait_s", lambda seconds_per_job: 60.0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a tiny project on twenty-four patients."""
    write_project(tmp_path)
    return tmp_path


@pytest.fixture
def command(project: Path) -> Commands:
    """Run stages in the tiny project."""
    return Commands(project)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A tiny project after `dvc repro`, from raw files to report; read it or copy it, do not change it.

    Made once for all processes of the tests.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "finished"
    with FileLock(f"{folder}.lock"):
        if not (folder / "repro.log").exists():
            make_project(folder)
    return folder


def make_project(folder: Path) -> None:
    """Run the whole graph in a new folder, in place of what a failed attempt left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_project(folder)
    put_under_dvc(folder)
    (folder / "repro.log").write_text(Commands(folder).dvc("repro"))


def put_under_dvc(folder: Path) -> None:
    """Make a tiny project one whose graph DVC runs."""
    (folder / "pipeline").symlink_to(REPOSITORY / "pipeline")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder / name)
    commands = Commands(folder)
    commands.run(["git", "init", "--quiet"])
    commands.dvc("init", "--quiet")
