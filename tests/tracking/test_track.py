"""What the tracker gets: numbers equal to the files that DVC keeps, and nothing that names a patient or a machine."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.config import Tracking
from pipeline.tracking.payload import RunPayload
from pipeline.tracking.results import audits_table, flatten
from pipeline.tracking.sync import last_steps, send
from tests.conftest import Commands
from tests.tracking.offline import OfflineRun, hex_digest

RUN = Path("runs/cubes/tiny")


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


def test_of_an_audit_only_the_verdict_leaves() -> None:
    audits = {"label_quality": {"verdict": "some doubtful", "is_alarm": True, "metrics": {"scan_ids": ["p001_0"]}}}
    assert audits_table(audits).values.tolist() == [["label_quality", "some doubtful", True]]


@pytest.mark.slow
def test_one_run_holds_every_step_once_with_the_figures_of_the_local_log(finished: Path, run: OfflineRun) -> None:
    training = finished / RUN / "fold-0-seed-0"
    steps, epochs = pd.read_csv(training / "steps.csv"), pd.read_csv(training / "history.csv")
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
    metrics = json.loads((finished / RUN / "evaluation" / "metrics.json").read_text())
    best = json.loads((finished / RUN / "fold-0-seed-0/best.json").read_text())
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
    history = pd.read_csv(finished / RUN / "fold-0-seed-0/history.csv")
    best = json.loads((finished / RUN / "fold-0-seed-0/best.json").read_text())
    smoothed = history["val_auroc"].rolling(3, min_periods=1).mean()
    assert best["epoch"] == history["epoch"][smoothed.idxmax()]
    assert best["val_auroc"] == history["val_auroc"][smoothed.idxmax()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "panel", "columns"),
    [
        ("roc", "wandb/area-under-curve/v0", ["false_positive_rate", "sensitivity"]),
        ("precision_recall", "wandb/area-under-curve/v0", ["recall", "precision"]),
        ("calibration", "wandb/lineseries/v0", None),
        ("decision_curve", "wandb/lineseries/v0", None),
        ("confusion", "wandb/confusion_matrix/v1", None),
    ],
)
def test_charts_are_native_and_show_the_points_of_the_plot_tables(
    finished: Path, run: OfflineRun, name: str, panel: str, columns: list[str] | None
) -> None:
    assert run.config[f"_wandb.visualize.charts/{name}"]["panel_config"]["panelDefId"] == panel
    shown, points = run.table(f"charts/{name}_table"), pd.read_csv(finished / RUN / f"evaluation/plots/{name}.csv")
    if columns:
        assert np.array_equal(shown[columns], points[columns])
    elif name == "confusion":
        expected = pd.crosstab(points["actual"], points["predicted"])
        assert all(expected.loc[row.actual, row.predicted] == row.nPredictions for row in shown.itertuples())
        assert shown["nPredictions"].sum() == len(points)
    else:
        line = "observed" if name == "calibration" else "net_benefit"
        assert shown[shown["line"] == line]["share"].tolist() == points[line].tolist()


@pytest.mark.slow
def test_artifacts_carry_dvc_hash_and_commit_and_lead_from_cohort_to_report(finished: Path, run: OfflineRun) -> None:
    lock = YAML(typ="safe", pure=True).load(finished / "dvc.lock")["stages"]
    hashes = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"] if "md5" in out}
    used = {"cubes-raw": "data/cubes/raw", "cubes-preprocessed": "data/cubes/preprocessed"}
    used["cubes-split"] = "data/cubes/splits.csv"
    made = {"cubes-tiny-model": RUN / "fold-0-seed-0/best.ckpt"}
    made["cubes-tiny-predictions"] = RUN / "predictions/fold-0-seed-0.csv"
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
    model, file = run.artifacts["cubes-tiny-model"], finished / RUN / "fold-0-seed-0/best.ckpt"
    assert hex_digest(model, "best.ckpt") == hashlib.md5(file.read_bytes()).hexdigest()
    assert {"best", "latest", "fold-0-seed-0"} == set(model["aliases"])
    assert run.run_id in Commands(finished)("runs", "identify", str(file)).stdout


@pytest.mark.slow
def test_runs_are_grouped_named_and_tagged_and_one_sums_them_up(finished: Path, sent: dict[str, OfflineRun]) -> None:
    described = {name: run.of_kind("run")[-1] for name, run in sent.items()}
    training, summary = described["tiny-fold0-seed0"], described["cubes-summary"]
    assert (training["run_group"], training["job_type"]) == ("cubes-tiny", "train")
    assert training["tags"] == ["cubes", "tiny", "resnet18"]
    assert (summary["run_group"], summary["job_type"]) == ("cubes-summary", "track")
    metrics = json.loads((finished / RUN / "evaluation" / "metrics.json").read_text())
    assert sent["cubes-summary"].summary["tiny/test/patient/auroc"] == metrics["test"]["patient"]["auroc"]["value"]
    assert sent["cubes-summary"].table("trainings")["run_id"].tolist() == [sent["tiny-fold0-seed0"].run_id]


@pytest.mark.slow
def test_tables_and_cost_are_those_of_the_files(finished: Path, run: OfflineRun) -> None:
    folder, metrics = finished / RUN, run.table("metrics").set_index(["split", "level", "metric"])
    known = json.loads((folder / "evaluation" / "metrics.json").read_text())
    for place, row in metrics.astype(object).where(metrics.notna(), None).iterrows():
        split, level, name = place
        assert row.drop("title").to_dict() == known[split][level][name]
    assert len(metrics) == sum(len(figures) for levels in known.values() for figures in levels.values())
    audits = json.loads((folder / "audits" / "audits.json").read_text())
    expected = [[name, found["verdict"], found["is_alarm"]] for name, found in audits.items()]
    assert run.table("audits").values.tolist() == expected
    baselines = pd.read_csv(folder / "evaluation" / "tables" / "baselines.csv")
    pd.testing.assert_frame_equal(run.table("baselines"), baselines, check_dtype=False)
    steps, cost = pd.read_csv(folder / "fold-0-seed-0/steps.csv"), run.summary
    assert cost["cost/hours"] == pytest.approx(steps["elapsed_seconds"].max() / 3600)
    assert cost["cost/peak_memory_mb"] == pytest.approx(steps["memory_mb"].max())
    assert cost["cost/energy_kwh_estimate"] == pytest.approx(cost["cost/hours"] * cost["cost/assumed_watts"] / 1000)


def test_what_was_sent_is_remembered_and_what_could_not_be_sent_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    (tmp_path / "wandb").write_text("a file where the folder should be")
    record = tmp_path / "cubes.json"
    record.write_text('{"runs": [{"run_id": "earlier", "step": 7}]}')
    parcel = RunPayload("abc123", "name", "group", "train", (), {}, Tracking(mode="offline"), after_step=3)
    assert send([parcel], tmp_path / "wandb", record) == 1
    assert last_steps(record) == {"earlier": 7, "abc123": 3}
    assert send([replace(parcel, tracking=Tracking(mode="none"))], tmp_path / "wandb", record) == 0


@pytest.mark.slow
def test_runs_are_listed_with_status_figures_size_and_differences(finished: Path) -> None:
    listed = Commands(finished)("runs").stdout
    metrics = json.loads((finished / RUN / "evaluation" / "metrics.json").read_text())
    auroc = metrics["test"]["patient"]["auroc"]["value"]
    for part in ("tiny fold 0 seed 0", "finished", "3 epochs", f"test {auroc:.3f}", "MB", "2 of 2 parts to upload"):
        assert part in " ".join(listed.split())
