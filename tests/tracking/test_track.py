"""What the tracker gets: numbers equal to the files that DVC keeps, and nothing that names a patient or a machine."""

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.config import Tracking
from pipeline.resolve import resolve
from pipeline.scans.store import Store
from pipeline.track import track
from pipeline.tracking.contents import Parcel
from pipeline.tracking.predictions import called_set, with_pictures
from pipeline.tracking.privacy import can_be_told, pseudonym, public_page, read_key
from pipeline.tracking.results import audits_table, flatten
from pipeline.tracking.sending import last_steps, send
from pipeline.tracking.settings import tracking_of
from pipeline.training.keeping.runfile import RunFile
from tests.conftest import PLANTED_HOST, PLANTED_USER, Commands
from tests.tracking.offline import OfflineRun, hex_digest, sent_bytes

RUN = Path("runs/cubes/tiny")


@pytest.fixture(scope="module")
def sent(finished: Path) -> dict[str, OfflineRun]:
    """The W&B runs of the finished project, by name."""
    runs = json.loads((finished / "tracking/cubes.json").read_text())["runs"]
    return {run["name"]: OfflineRun(finished, run["run_id"]) for run in runs}


@pytest.fixture(scope="module")
def run(sent: dict[str, OfflineRun]) -> OfflineRun:
    return sent["tiny-fold0-seed0"]


def test_flat_figures_are_those_of_metrics_and_undefined_ones_are_left_out() -> None:
    known = {"value": 0.8, "low": 0.7, "high": 0.9, "num_patients": 30, "reason": None}
    undefined = {"value": None, "low": None, "high": None, "num_patients": 4, "reason": "4 patients"}
    assert flatten({"test": {"patient": {"auroc": known, "f1": undefined}}}) == {
        "test/patient/auroc": 0.8,
        "test/patient/auroc/low": 0.7,
        "test/patient/auroc/high": 0.9,
        "test/patient/auroc/num_patients": 30,
        "test/patient/f1/num_patients": 4,
    }


def test_pseudonyms_are_stable_distinct_and_the_clone_s_own(tmp_path: Path) -> None:
    names = [f"p{number:03d}" for number in range(200)]
    key, other = (read_key(tmp_path / name) for name in ("key", "other"))
    assert len({pseudonym(name, key) for name in names}) == 200
    assert pseudonym("p001", key) == pseudonym("p001", read_key(tmp_path / "key")) != pseudonym("p001", other)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_none_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    with pytest.raises(ValueError, match="64 hexadecimal digits, got 6 .* copy the file from a clone"):
        read_key(tmp_path / "key")


def test_a_public_page_has_a_pseudonym_for_each_id_wherever_it_stands_and_its_pictures_as_they_were() -> None:
    stand_ins = {"p1": "AAAA", "p1_0": "BBBB", "a&b": "CCCC"}
    page = "<p>p1_0 of p1, map p1_0_t1.nii; a&amp;b, not p10, sp1</p><img src='data:image/png;base64,xx/p1/yy=='>"
    assert public_page(page, stand_ins) == (
        "<p>BBBB of AAAA, map BBBB_t1.nii; CCCC, not p10, sp1</p><img src='data:image/png;base64,xx/p1/yy=='>"
    )
    assert can_be_told(stand_ins) and not can_be_told(["12", "p1"])


@pytest.mark.parametrize(
    ("probs", "thresholds", "called"),
    [
        ({"plain": 0.6, "cube": 0.4}, 0.35, {"cube"}),
        ({"plain": 0.4, "cube": 0.6}, 0.65, {"plain"}),
        ({"plain": 0.4, "cube": 0.6}, None, {"cube"}),
        ({"a": 0.2, "b": 0.5, "c": 0.3}, None, {"b"}),
        ({"a": 0.2, "b": 0.6, "c": 0.8}, {"a": 0.1, "b": 0.7, "c": 0.5}, {"a", "c"}),
    ],
)
def test_what_is_called_follows_the_frozen_thresholds(
    probs: dict[str, float], thresholds: dict[str, float] | float | None, called: set[str]
) -> None:
    assert called_set(probs, thresholds) == called


def test_of_an_audit_only_the_verdict_leaves() -> None:
    audits = {"label_quality": {"verdict": "some doubtful", "is_alarm": True, "figures": {"scan_ids": ["p001_0"]}}}
    assert audits_table(audits).values.tolist() == [["label_quality", "some doubtful", True]]


@pytest.mark.slow
def test_one_run_holds_every_step_once_with_the_figures_of_the_local_log(finished: Path, run: OfflineRun) -> None:
    steps, epochs = pd.read_csv(finished / RUN / "fold-0/steps.csv"), pd.read_csv(finished / RUN / "fold-0/history.csv")
    history = run.history.set_index("_step")
    assert len(run.parts) == 2, "one part from the training, one from the track stage, under one id"
    assert history.index.tolist() == [*steps["step"], steps["step"].max() + 1]
    for name in ("loss", "learning_rate", "gradient_norm", "seconds", "waiting_share", "memory_mb"):
        assert np.allclose(history.loc[steps["step"], f"step/{name}"], steps[name], rtol=1e-12)
    for name in ("train_loss", "val_loss", "val_auroc"):
        assert np.allclose(history.loc[epochs["step"], name], epochs[name], rtol=1e-12)
    assert epochs["train_loss"].tolist() == pytest.approx(steps.groupby("epoch")["loss"].mean().tolist())


@pytest.mark.slow
def test_the_summary_agrees_with_dvc_on_every_number(finished: Path, run: OfflineRun) -> None:
    metrics = json.loads((finished / RUN / "metrics.json").read_text())
    best = json.loads((finished / RUN / "fold-0/best.json").read_text())
    summary, count = run.summary, 0
    for split, levels in metrics.items():
        for level, figures in levels.items():
            for name, figure in figures.items():
                for end, key in (("", "value"), ("/low", "low"), ("/high", "high")):
                    assert summary.get(f"{split}/{level}/{name}{end}") == figure[key]
                    count += figure[key] is not None
    assert count > 50
    assert {name: summary[f"best/{name}"] for name in best} == best


@pytest.mark.slow
def test_the_best_epoch_is_the_one_that_the_checkpoint_keeps(finished: Path) -> None:
    history = pd.read_csv(finished / RUN / "fold-0/history.csv")
    best = json.loads((finished / RUN / "fold-0/best.json").read_text())
    assert best["val_auroc"] == history["val_auroc"].max()
    assert best["epoch"] == history["epoch"][history["val_auroc"].idxmax()]


@pytest.mark.slow
def test_the_table_of_predictions_has_pseudonyms_and_the_probabilities_of_the_file(
    finished: Path, run: OfflineRun
) -> None:
    expected, table = pd.read_csv(finished / RUN / "predictions/fold-0.csv"), run.table("predictions")
    key = read_key(finished / ".pseudonym_key")
    assert table["scan_id"].tolist() == [pseudonym(name, key) for name in expected["scan_id"]]
    assert np.array_equal(table[["prob_plain", "prob_cube"]], expected[["prob_plain", "prob_cube"]])
    threshold = json.loads((finished / RUN / "operating_point.json").read_text())["scan"]["threshold"]
    assert (table["is_correct"] == ((expected["prob_cube"] >= threshold) == (expected["label"] == "cube"))).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "panel", "columns"),
    [
        ("roc", "wandb/area-under-curve/v0", ["false_positive_rate", "sensitivity"]),
        ("precision_recall", "wandb/area-under-curve/v0", ["recall", "precision"]),
        ("calibration", "wandb/lineseries/v0", None),
        ("confusion", "wandb/confusion_matrix/v1", None),
    ],
)
def test_charts_are_native_and_show_the_points_of_the_plot_tables(
    finished: Path, run: OfflineRun, name: str, panel: str, columns: list[str] | None
) -> None:
    assert run.config[f"_wandb.visualize.charts/{name}"]["panel_config"]["panelDefId"] == panel
    shown, points = run.table(f"charts/{name}_table"), pd.read_csv(finished / RUN / f"plots/{name}.csv")
    if columns:
        assert np.array_equal(shown[columns], points[columns])
    elif name == "confusion":
        expected = pd.crosstab(points["actual"], points["predicted"])
        assert all(expected.loc[row.actual, row.predicted] == row.nPredictions for row in shown.itertuples())
        assert shown["nPredictions"].sum() == len(points)
    else:
        assert shown[shown["line"] == "observed"]["share"].tolist() == points["observed"].tolist()


@pytest.mark.slow
def test_artifacts_carry_dvc_hash_and_commit_and_lead_from_cohort_to_report(finished: Path, run: OfflineRun) -> None:
    lock = YAML(typ="safe", pure=True).load(finished / "dvc.lock")["stages"]
    hashes = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"] if "md5" in out}
    used = {"cubes-raw": "data/cubes/raw", "cubes-preprocessed": "data/cubes/preprocessed"}
    used["cubes-split"] = "data/cubes/splits.csv"
    made = {"cubes-tiny-model": RUN / "fold-0/best.ckpt", "cubes-tiny-predictions": RUN / "predictions/fold-0.csv"}
    for name, path in {**used, **made}.items():
        artifact = run.artifacts[name]
        assert artifact["metadata"]["dvc_path"] == str(path)
        assert artifact["metadata"]["dvc_md5"] == hashes[str(path)]
        assert artifact["metadata"]["git_commit"]
        assert artifact.get("use_after_commit", False) is (name in used)
        assert artifact["metadata"].get("run_id") == (None if name in used else run.run_id)
    assert "cubes-tiny-report" in run.artifacts


@pytest.mark.slow
def test_the_model_artifact_is_the_file_and_the_file_leads_back_to_the_run(finished: Path, run: OfflineRun) -> None:
    model, file = run.artifacts["cubes-tiny-model"], finished / RUN / "fold-0/best.ckpt"
    assert hex_digest(model, "best.ckpt") == hashlib.md5(file.read_bytes()).hexdigest()
    assert {"best", "latest", "fold-0"} == set(model["aliases"])
    assert run.run_id in Commands(finished)("runs", "--model", str(file)).stdout


@pytest.mark.slow
def test_runs_are_grouped_named_and_tagged_and_one_sums_them_up(finished: Path, sent: dict[str, OfflineRun]) -> None:
    described = {name: run.of_kind("run")[-1] for name, run in sent.items()}
    training, summary = described["tiny-fold0-seed0"], described["cubes-summary"]
    assert (training["run_group"], training["job_type"]) == ("cubes-tiny", "train")
    assert training["tags"] == ["cubes", "tiny", "resnet18"]
    assert (summary["run_group"], summary["job_type"]) == ("cubes-summary", "track")
    metrics = json.loads((finished / RUN / "metrics.json").read_text())
    assert sent["cubes-summary"].summary["tiny/test/patient/auroc"] == metrics["test"]["patient"]["auroc"]["value"]
    assert sent["cubes-summary"].table("trainings")["run_id"].tolist() == [sent["tiny-fold0-seed0"].run_id]


@pytest.mark.slow
@pytest.mark.parametrize("tracked", ["finished", "pictured"])
def test_nothing_that_would_be_uploaded_names_a_patient_a_folder_a_user_or_the_machine(
    tracked: str, finished: Path, run: OfflineRun, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(tracked)
    logged = sent_bytes(folder)
    assert b"val_auroc" in logged and b"test/scan/" in logged and b"prob_cube" in logged
    ids = pd.read_csv(finished / "cubes/labels.csv")[["scan_id", "patient_id"]].to_numpy().ravel()
    for secret in (*ids, str(finished), str(folder), str(Path.home()), PLANTED_USER, PLANTED_HOST):
        assert str(secret).encode() not in logged, secret
    # The name of a machine may be two letters: it is looked for as a field, which starts with its length.
    host = socket.gethostname().encode()
    assert bytes([len(host)]) + host not in logged
    told = entries(OfflineRun(folder, run.run_id))
    assert len(told) > 6 and not any(entry.get("local_path", "").startswith("/") for entry in told)


def entries(run: OfflineRun) -> list[dict[str, str]]:
    return [entry for artifact in run.artifacts.values() for entry in artifact["manifest"]["contents"]]


@pytest.mark.slow
def test_tables_and_cost_are_those_of_the_files(finished: Path, run: OfflineRun) -> None:
    folder, metrics = finished / RUN, run.table("metrics").set_index(["split", "level", "metric"])
    known = json.loads((folder / "metrics.json").read_text())
    for place, row in metrics.astype(object).where(metrics.notna(), None).iterrows():
        split, level, name = place
        assert row.to_dict() == known[split][level][name]
    assert len(metrics) == sum(len(figures) for levels in known.values() for figures in levels.values())
    audits = json.loads((folder / "audits.json").read_text())
    expected = [[name, found["verdict"], found["is_alarm"]] for name, found in audits.items()]
    assert run.table("audits").values.tolist() == expected
    floors = pd.read_csv(folder / "floors.csv")
    pd.testing.assert_frame_equal(run.table("floors"), floors, check_dtype=False)
    steps, cost = pd.read_csv(folder / "fold-0/steps.csv"), run.summary
    assert cost["cost/hours"] == pytest.approx(steps["elapsed_seconds"].max() / 3600)
    assert cost["cost/peak_memory_mb"] == pytest.approx(steps["memory_mb"].max())
    assert cost["cost/energy_kwh_estimate"] == pytest.approx(cost["cost/hours"] * cost["cost/assumed_watts"] / 1000)


@pytest.mark.slow
def test_a_dry_run_lists_all_that_is_sent_and_no_id(
    finished: Path, run: OfflineRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    listed = dry_run(finished, monkeypatch, capsys)
    words = set(re.split(r"[\s,:=()]+", listed))
    # Of a chart or table the summary holds the path and size of its file.
    summary = {name.split(".")[0] for name in run.summary if not name.startswith("_")}
    assert len(summary) > 50 and summary <= words
    assert {name for name in keys_of(run.config) if not name.startswith("_")} <= words
    described, own = run.of_kind("run")[-1], [name for name in run.artifacts if name.startswith("cubes-")]
    assert len(own) == 6 and {*own, described["job_type"], *described["tags"]} <= words
    told = [value for name in own for value in run.artifacts[name]["metadata"].values() if value is not None]
    assert len(told) > 15 and all(str(value) in listed for value in told)
    verdicts = pd.Series(run.table("audits")["verdict"])
    assert all(verdict in listed for verdict in verdicts)
    assert "p001" not in listed
    # The page shows scans, and stays here unless tracking.log_images is set.
    assert "page" not in listed


def keys_of(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from keys_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def dry_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: str) -> str:
    """What `track --dry-run` prints there."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CUBES", str(folder / "cubes"))
    assert not track(resolve(None, list(words)), dry_run=True)
    return capsys.readouterr().out


def test_a_dry_run_before_training_lists_the_config_and_what_will_be_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    listed = dry_run(project, monkeypatch, capsys)
    for part in ("tiny-fold0-seed0", "training.max_epochs=3", "step/loss", "val_auroc", "best/val_auroc"):
        assert part in listed
    assert str(project) not in listed and "slices" not in listed
    assert "slices" in dry_run(project, monkeypatch, capsys, "tracking.log_images=true")


def test_an_experiment_is_tracked_by_its_own_file_and_narrowed_by_words_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = (project / "configs/tiny.yaml").read_text()
    (project / "configs/tiny.yaml").write_text(own.replace("tracking: {}", "tracking: {mode: none}"))
    (project / "configs/open.yaml").write_text(own.replace("tracking: {}", "tracking: {log_images: true}"))
    (project / "configs/shut.yaml").write_text(own.replace("tracking: {}", "tracking: {mode: offline}"))
    monkeypatch.chdir(project)

    def told(name: str, *words: str) -> tuple[str, bool]:
        tracking = tracking_of(resolve("tiny.yaml", list(words)), name)
        return tracking.mode, tracking.log_images

    assert told("open") == ("auto", True) and told("shut") == ("offline", False)
    # The word counts although the first experiment says the same in its file.
    assert told("open", "tracking.mode=none") == ("none", True)
    assert told("open", "tracking.log_images=false") == ("auto", False)
    assert told("shut", "tracking.mode=auto", "tracking.log_images=true") == ("offline", False)
    assert tracking_of(resolve("tiny.yaml", ["tracking.project=mine"]), "open").project == "mine"


def test_what_was_sent_is_remembered_and_what_could_not_be_sent_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    (tmp_path / "wandb").write_text("a file where the folder should be")
    record = tmp_path / "cubes.json"
    record.write_text('{"runs": [{"run_id": "earlier", "step": 7}]}')
    parcel = Parcel("abc123", "name", "group", "train", (), {}, Tracking(mode="offline"), after_step=3)
    assert send([parcel], tmp_path / "wandb", record) == 1
    assert last_steps(record) == {"earlier": 7, "abc123": 3}
    assert send([replace(parcel, tracking=Tracking(mode="none"))], tmp_path / "wandb", record) == 0


@pytest.mark.slow
def test_what_an_experiment_lets_leave_is_followed_by_dvc(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    before = Commands(copy).dvc("status", "track@cubes")
    config = copy / "configs/tiny.yaml"
    config.write_text(config.read_text().replace("tracking: {}", "tracking: {log_images: true}"))
    assert "configs" not in before and "configs" in Commands(copy).dvc("status", "track@cubes")


@pytest.fixture(scope="module")
def pictured(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was trained where no tracker was, then tracked twice, first with pictures."""
    copy = Path(shutil.copytree(finished, tmp_path_factory.mktemp("pictured") / "project", symlinks=True))
    shutil.rmtree(copy / "wandb")
    (copy / "tracking/cubes.json").unlink()
    Commands(copy)("track", "tracking.log_images=true")
    Commands(copy)("track")
    return copy


@pytest.mark.slow
def test_pictures_and_the_report_leave_only_when_asked(finished: Path, pictured: Path, run: OfflineRun) -> None:
    assert not pictures_to_send(finished) and not list((finished / "wandb").rglob("*.html"))
    first = OfflineRun(pictured, run.run_id).parts[0]
    rows = len(pd.read_csv(finished / RUN / "predictions/fold-0.csv"))
    assert len(pictures_to_send(pictured)) == rows + 2
    page = next((first / "files/media/html").glob("report*.html")).read_text()
    assert len(page) == pytest.approx(len((finished / "reports/cubes/tiny.html").read_text()), rel=0.01)
    captions = json.loads((finished / RUN / "explanations/captions.json").read_text())
    key = read_key(pictured / ".pseudonym_key")
    assert len(captions) == 2 and all(f"Scan {pseudonym(each['scan_id'], key)}" in page for each in captions)


@pytest.mark.slow
def test_the_tracker_gets_later_what_it_missed_and_goes_on_with_growing_steps(pictured: Path, run: OfflineRun) -> None:
    steps, again = pd.read_csv(pictured / RUN / "fold-0/steps.csv"), OfflineRun(pictured, run.run_id)
    assert again.history["_step"].tolist() == [*steps["step"], 10, 11]
    assert again.history["step/loss"].dropna().tolist() == pytest.approx(steps["loss"].tolist(), rel=1e-12)
    assert again.history["val_auroc"].dropna().tolist() == run.history["val_auroc"].dropna().tolist()


@pytest.mark.slow
def test_an_explanation_is_shown_beside_the_fold_whose_network_it_explains(finished: Path) -> None:
    store, explanations = Store(finished / "data/cubes/preprocessed"), finished / RUN / "explanations"
    ids = [caption["scan_id"] for caption in json.loads((explanations / "captions.json").read_text())]
    shown = {
        fold: with_pictures(pd.DataFrame(index=ids), ids, store, explanations, fold)["explanation"].notna().sum()
        for fold in (0, 1)
    }
    assert shown == {0: 2, 1: 0}


def pictures_to_send(folder: Path) -> list[Path]:
    """PNG files below wandb/, whatever they are called while they wait for an upload."""
    files = (path for path in (folder / "wandb").rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes().startswith(b"\x89PNG")]


@pytest.mark.slow
def test_of_several_folds_one_model_is_the_best_and_figures_and_report_stand_in_the_summary(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    shutil.copytree(copy / RUN / "fold-0", copy / RUN / "fold-1")
    trained = RunFile.read(copy / RUN / "fold-0/best.ckpt")
    worse = replace(trained, config={**trained.config, "fold": 1}, score=trained.score - 0.1)
    worse.write(copy / RUN / "fold-1/best.ckpt")
    config = copy / RUN / "fold-1/config.yaml"
    config.write_text(config.read_text().replace("fold: 0", "fold: 1"))
    shutil.copy(copy / RUN / "predictions/fold-0.csv", copy / RUN / "predictions/fold-1.csv")
    listed = dry_run(copy, monkeypatch, capsys, "folds=[0,1]", "tracking.log_images=true")
    first, second, summary = re.split(r"^(?:tiny-fold\d|cubes-summary)", listed, flags=re.MULTILINE)[1:]
    assert "cubes-tiny-model (latest, fold-0, best)" in first and "cubes-tiny-model (latest, fold-1)" in second
    assert "test/patient/auroc" not in first and "tiny/test/patient/auroc" in summary
    assert "page report" not in first and "page tiny/report" in summary


@pytest.mark.slow
def test_runs_are_listed_with_status_figures_size_and_differences(finished: Path) -> None:
    listed = Commands(finished)("runs").stdout
    metrics = json.loads((finished / RUN / "metrics.json").read_text())
    auroc = metrics["test"]["patient"]["auroc"]["value"]
    for part in ("tiny fold 0 seed 0", "finished", "3 epochs", f"test {auroc:.3f}", "MB", "2 of 2 parts to upload"):
        assert part in " ".join(listed.split())
