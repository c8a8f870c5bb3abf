"""What would be sent, told before it is, and who says what may leave."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.experiments import Experiments
from pipeline.track import preview
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.conftest import Commands
from tests.tracking.offline import OfflineRun

RUN = Path("runs/cubes/tiny")
EXPERIMENTS = "experiments=[tiny, open, shut]"


def dry_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: str) -> str:
    """What `track preview` prints there."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CUBES", str(folder / "cubes"))
    preview(Experiments.from_command_line(None, words))
    return capsys.readouterr().out


def keys_of(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.slow
def test_a_dry_run_lists_all_that_is_sent_and_no_id(
    finished: Path, run: OfflineRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    listed = dry_run(finished, monkeypatch, capsys)
    words = set(re.split(r"[\s,:=()]+", listed))
    # Of a chart or table the summary holds the path and size of its file.
    names = [name for name in run.summary if not name.startswith("_")]
    summary = {name if name in words else name.split(".")[0] for name in names}
    assert len(summary) > 50 and summary <= words
    config = {name for name in keys_of(run.config) if not name.startswith("_")}
    assert "training.max_epochs" in config and config <= words
    described, own = run.of_kind("run")[-1], [name for name in run.artifacts if name.startswith("cubes-")]
    assert len(own) == 6 and {*own, described["job_type"], *described["tags"]} <= words
    told = [value for name in own for value in run.artifacts[name]["metadata"].values() if value is not None]
    assert len(told) > 15 and all(str(value) in listed for value in told)
    verdicts = pd.Series(run.table("audits")["verdict"])
    assert all(verdict in listed for verdict in verdicts)
    assert "p001" not in listed
    # The page shows scans, and stays here unless tracking.log_images is set.
    assert "page" not in listed


def test_a_dry_run_before_training_lists_the_config_and_what_will_be_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    listed = dry_run(project, monkeypatch, capsys)
    for part in ("tiny-fold0-seed0", "training.max_epochs=3", "step/loss", "val_auroc", "best/val_auroc"):
        assert part in listed
    assert str(project) not in listed and "slices" not in listed
    assert "slices" in dry_run(project, monkeypatch, capsys, "tracking.log_images=true")


@pytest.mark.slow
def test_of_several_folds_one_model_is_the_best_and_figures_and_report_stand_in_the_summary(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    shutil.copytree(copy / RUN / "fold-0-seed-0", copy / RUN / "fold-1-seed-0")
    trained = TrainedCheckpoint.read(copy / RUN / "fold-0-seed-0/best.ckpt")
    worse = replace(trained, config={**trained.config, "fold": 1}, score=trained.score - 0.1)
    worse.write(copy / RUN / "fold-1-seed-0/best.ckpt")
    config = copy / RUN / "fold-1-seed-0/config.yaml"
    config.write_text(config.read_text().replace("fold: 0", "fold: 1"))
    shutil.copy(copy / RUN / "predictions/fold-0-seed-0.csv", copy / RUN / "predictions/fold-1-seed-0.csv")
    listed = dry_run(copy, monkeypatch, capsys, "folds=[0,1]", "tracking.log_images=true")
    first, second, summary = re.split(r"^(?:tiny-fold\d|cubes-summary)", listed, flags=re.MULTILINE)[1:]
    assert "cubes-tiny-model (latest, fold-0-seed-0, best)" in first
    assert "cubes-tiny-model (latest, fold-1-seed-0)" in second
    assert "test/patient/auroc" not in first and "tiny/test/patient/auroc" in summary
    assert "page report" not in first and "page tiny/report" in summary


def test_an_experiment_is_tracked_by_its_own_file_and_narrowed_by_words_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = (project / "configs/tiny.yaml").read_text()
    (project / "configs/tiny.yaml").write_text(own.replace("tracking: {}", "tracking: {mode: none}"))
    (project / "configs/open.yaml").write_text(own.replace("tracking: {}", "tracking: {log_images: true}"))
    (project / "configs/shut.yaml").write_text(own.replace("tracking: {}", "tracking: {mode: offline}"))
    monkeypatch.chdir(project)

    def told(name: str, *words: str) -> tuple[str, bool]:
        tracking = Experiments.from_command_line("tiny.yaml", [EXPERIMENTS, *words]).configs[name].tracking
        return tracking.mode, tracking.log_images

    assert told("open") == ("auto", True) and told("shut") == ("offline", False)
    # The word counts although the first experiment says the same in its file.
    assert told("open", "tracking.mode=none") == ("none", True)
    assert told("open", "tracking.log_images=false") == ("auto", False)
    assert told("shut", "tracking.mode=auto", "tracking.log_images=true") == ("offline", False)
    renamed = Experiments.from_command_line("tiny.yaml", [EXPERIMENTS, "tracking.project=mine"])
    assert renamed.configs["open"].tracking.project == "mine"


@pytest.mark.slow
def test_what_an_experiment_lets_leave_is_followed_by_dvc(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    before = Commands(copy).dvc("status", "track@cubes")
    config = copy / "configs/tiny.yaml"
    config.write_text(config.read_text().replace("tracking: {}", "tracking: {log_images: true}"))
    assert "configs" not in before and "configs" in Commands(copy).dvc("status", "track@cubes")
