"""From raw files to report through the public command line, on a tiny cohort whose label is a bright cube."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline import load_run
from pipeline.reporting.findings import first_look_statements
from pipeline.training.checkpoint import TrainedCheckpoint
from tests.conftest import MODEL, REPOSITORY, Commands

pytestmark = pytest.mark.slow
RUN = Path("runs/cubes/tiny")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A finished project that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def predictions_of(finished: Path) -> pd.DataFrame:
    return pd.read_csv(finished / RUN / "predictions" / "fold-0-seed-0.csv")


def test_the_cubes_are_found(finished: Path) -> None:
    table = predictions_of(finished)
    assert roc_auc_score(table["label"] == "cube", table["prob_cube"]) > 0.8


def test_no_training_patient_is_predicted_and_every_held_out_scan_is(finished: Path) -> None:
    splits = pd.read_csv(finished / "data/cubes/splits.csv")
    table = predictions_of(finished)
    trained_on = splits[(splits["split"] == "development") & (splits["fold"] != 0)]
    assert not set(table["patient_id"]) & set(trained_on["patient_id"])
    assert sorted(table["scan_id"]) == sorted(set(splits["scan_id"]) - set(trained_on["scan_id"]))


def test_probabilities_sum_to_one_and_labels_are_the_table_s(finished: Path) -> None:
    table = predictions_of(finished)
    labels = pd.read_csv(finished / "cubes/labels.csv").set_index("scan_id")["label"]
    assert np.allclose(table[["prob_plain", "prob_cube"]].sum(axis=1), 1)
    assert (labels.loc[table["scan_id"]].to_numpy() == table["label"]).all()


def test_metrics_follow_from_predictions_alone(finished: Path) -> None:
    metrics = json.loads((finished / RUN / "evaluation" / "metrics.json").read_text())
    table = predictions_of(finished)
    val = table[table["split"] == "val"]
    shown = metrics["val"]["scan"]["auroc"]
    assert shown["value"] == pytest.approx(roc_auc_score(val["label"] == "cube", val["prob_cube"]))
    # Four patients of a class: no interval, and the reason in its place.
    assert shown["low"] is None and shown["high"] is None and "an interval needs 10" in shown["reason"]


def test_a_frozen_run_is_judged_on_another_cohort_as_it_is(copy: Path) -> None:
    shutil.copytree(copy / "data/cubes", copy / "data/elsewhere", symlinks=True)
    shutil.copy(copy / "configs/cohorts/cubes.yaml", copy / "configs/cohorts/elsewhere.yaml")
    ingest = json.loads((copy / "data/elsewhere/ingest.json").read_text())
    ingest["excluded"] = [{"scan_id": f"x{n}", "patient_id": f"x{n}", "label": "cube"} for n in range(4)]
    (copy / "data/elsewhere/ingest.json").write_text(json.dumps(ingest))
    said = Commands(copy)("evaluate", "external", str(RUN), "--cohort", "elsewhere.yaml", "--out", "outside").stdout
    assert "Unchanged" in said and "Intercept refitted" in said
    outside = pd.read_csv(copy / "outside/predictions.csv").set_index("scan_id")
    own = predictions_of(copy).set_index("scan_id")
    assert len(outside) == len(pd.read_csv(copy / "data/cubes/cohort.csv"))
    assert np.allclose(outside.loc[own.index, "prob_cube"], own["prob_cube"], atol=1e-6)
    frozen = [
        json.loads((folder / "frozen/operating_point.json").read_text())
        for folder in (copy / RUN / "evaluation", copy / "outside")
    ]
    assert frozen[0] == frozen[1]
    metrics = json.loads((copy / "outside/metrics.json").read_text())["test"]["scan"]
    called = outside["prob_cube"] >= frozen[0]["scan"]["threshold"]
    assert metrics["accuracy"]["value"] == pytest.approx((called == (outside["label"] == "cube")).mean())
    assert "recalibrated_brier_score" in metrics
    num_cubes = (outside["label"] == "cube").sum()
    expected = metrics["sensitivity"]["value"] * num_cubes / (num_cubes + 4)
    assert metrics["intended_sensitivity"]["value"] == pytest.approx(expected)


def test_a_run_is_not_judged_on_patients_that_trained_it_after_another_split(copy: Path) -> None:
    path = copy / "data/cubes/splits.csv"
    splits = pd.read_csv(path)
    other = splits["fold"].map({0: 1, 1: 0}).astype("Int64")
    splits.assign(fold=other).to_csv(path, index=False)
    before = (copy / RUN / "predictions/fold-0-seed-0.csv").read_bytes()
    reasons = {
        "predict": "best.ckpt: trained on other scans, labels or partitions than fold 0",
        "audit": "fold-0-seed-0.csv: 12 of 24 scans that splits.csv holds out are there",
    }
    for verb, reason in reasons.items():
        done = Commands(copy)(verb, check=False)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert reason in done.stderr
    assert (copy / RUN / "predictions/fold-0-seed-0.csv").read_bytes() == before


def test_another_experiment_s_checkpoint_and_weights_that_are_no_numbers_predict_nothing(copy: Path) -> None:
    command, config = Commands(copy), copy / "configs/tiny.yaml"
    shutil.copy(config, config.with_name("other.yaml"))
    best = copy / RUN / "fold-0-seed-0/best.ckpt"
    shutil.copytree(best.parent, copy / "runs/cubes/other/fold-0-seed-0")
    for verb in ("predict", "explain"):
        done = command(verb, "--config", "other.yaml", check=False)
        assert done.returncode == 1 and "the checkpoint of experiment 'tiny' on cohort 'cubes', fold 0" in done.stderr
    trained = TrainedCheckpoint.read(best)
    trained.state_dict["fc.bias"][0] = np.nan
    trained.write(best)
    done = command("predict", "scans", "cubes/scans/p001_0.nii.gz", "--run", str(RUN), "--out", "new.csv", check=False)
    assert done.returncode == 1 and "such as fc.bias, are NaN or infinite" in done.stderr
    assert not (copy / "new.csv").exists() and not (copy / "runs/cubes/other/predictions").exists()


REPEATED = (
    "fetch",
    "ingest",
    "split",
    "plan",
    "preprocess",
    "predict",
    "evaluate",
    "audit",
    "explain",
    "report",
    "track",
)
"""tests/test_train.py repeats `train`. Two runs differ in what holds times: W&B's own files, logs, and steps.csv of a
training; and a run that is tracked again continues after the steps of the record before, which is removed here."""


def test_two_runs_of_each_stage_write_the_same_bytes(finished: Path, copy: Path) -> None:
    for made in (
        copy / "data",
        copy / "reports",
        copy / "tracking",
        copy / "wandb",
        *(copy / RUN).glob("[!f]*"),
        copy / "test_looks",
    ):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    for verb in REPEATED:
        Commands(copy)(verb)
    first, second = (outputs_below(folder) for folder in (finished, copy))
    assert len(first) > 40 and first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def outputs_below(project: Path) -> dict[str, bytes]:
    files = (path for name in ("data", "runs", "reports", "tracking") for path in (project / name).rglob("*"))
    return {str(path.relative_to(project)): path.read_bytes() for path in files if path.is_file()}


def test_a_second_seed_is_a_training_of_its_own_and_joins_the_evaluation(copy: Path) -> None:
    first = (copy / RUN / "fold-0-seed-0/best.ckpt").read_bytes()
    for verb in ("train", "predict"):
        Commands(copy)(verb, "seed=1", "tracking.mode=none")
    Commands(copy)("evaluate", "seeds=[0,1]")
    assert (copy / RUN / "fold-0-seed-0/best.ckpt").read_bytes() == first
    assert (copy / RUN / "fold-0-seed-1/best.ckpt").read_bytes() != first
    tables = [pd.read_csv(copy / RUN / f"predictions/fold-0-seed-{seed}.csv") for seed in (0, 1)]
    assert [set(table["seed"]) for table in tables] == [{0}, {1}]
    assert not np.allclose(tables[0]["prob_cube"], tables[1]["prob_cube"], atol=1e-3)
    evaluated = json.loads((copy / RUN / "evaluation/frozen/checkpoints.json").read_text())
    assert set(evaluated) == {"fold-0-seed-0", "fold-0-seed-1"}
    models = pd.read_csv(copy / RUN / "evaluation/tables/models.csv")
    assert {0, 1} == set(models["seed"])


def test_embeddings_hold_four_stages_of_the_predicted_scans(finished: Path) -> None:
    with np.load(finished / RUN / "embeddings" / "fold-0-seed-0.npz", allow_pickle=False) as archive:
        assert archive["scan_id"].tolist() == predictions_of(finished)["scan_id"].tolist()
        assert [archive[f"stage{index}"].shape[1] for index in (1, 2, 3, 4)] == MODEL["options"]["dims"]


def test_audits_predict_the_scans_as_they_are_beside_the_changed_ones(finished: Path) -> None:
    changes = pd.read_csv(finished / RUN / "audits" / "changes.csv").set_index("scan_id")
    assert set(changes["change"]) >= {"none", "turned and shifted", "resampled", "mirrored", "noisier"}
    table = predictions_of(finished).set_index("scan_id")
    unchanged = changes[changes["change"] == "none"]
    assert unchanged["patient_id"].is_unique and (table.loc[unchanged.index, "split"] == "test").all()
    assert np.allclose(unchanged["prob_cube"], table.loc[unchanged.index, "prob_cube"], atol=1e-6)
    assert not np.allclose(changes.loc[changes["change"] == "noisier", "prob_cube"], unchanged["prob_cube"], atol=1e-3)


def test_audits_of_a_tiny_cohort_say_why_they_judge_nothing(finished: Path) -> None:
    audits = json.loads((finished / RUN / "audits" / "audits.json").read_text())
    assert "this takes 10" in audits["shortcut"]["metrics"]["followed"]["reason"]
    assert "under 10 patients" in audits["simple"]["reason"] and "stability" in audits
    page = (finished / "reports" / "cubes" / "tiny.html").read_text()
    assert "Would a simpler model do? Not assessed." in page


def test_an_explanation_map_lies_on_the_scan_s_own_grid(finished: Path) -> None:
    captions = json.loads((finished / RUN / "explanations" / "captions.json").read_text())
    assert len(captions) == 2
    for caption in captions:
        evidence = nibabel.load(finished / RUN / "explanations" / caption["map"])
        scan = nibabel.load(finished / "cubes" / "scans" / f"{caption['scan_id']}.nii.gz")
        assert evidence.shape == scan.shape
        assert np.allclose(evidence.affine, scan.affine, atol=1e-4)
        assert 0 <= np.asarray(evidence.dataobj).min() and np.asarray(evidence.dataobj).max() <= 1.001


def test_a_raw_scan_gives_the_stored_probability(finished: Path, tmp_path: Path) -> None:
    expected = predictions_of(finished).iloc[0]
    scan = finished / "cubes" / "scans" / f"{expected['scan_id']}.nii.gz"
    out = tmp_path / "new.csv"
    Commands(finished)("predict", "scans", str(scan), "--run", str(RUN / "fold-0-seed-0"), "--out", str(out))
    assert pd.read_csv(out)["prob_cube"].item() == pytest.approx(expected["prob_cube"], abs=1e-6)


def test_a_run_that_is_loaded_in_python_predicts_as_the_command_does(finished: Path, tmp_path: Path) -> None:
    scan = next((finished / "cubes" / "scans").glob("*.nii.gz"))
    out = tmp_path / "new.csv"
    Commands(finished)("predict", "scans", str(scan), "--run", str(RUN), "--out", str(out))
    written = pd.read_csv(out).iloc[0]
    result = load_run(finished / RUN).predict(scan)
    assert result.probabilities == {"plain": written["prob_plain"], "cube": written["prob_cube"]}
    assert (result.predicted or "") == written.get("predicted", "")


def test_the_python_of_the_readme_runs(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    scan = next((finished / "data" / "cubes" / "raw" / "scans").glob("*.nii.gz")).name
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    for block in blocks:
        here = block.replace("phantom/2d_frozen", "cubes/tiny").replace("data/phantom", "data/cubes")
        exec(here.replace("SCAN.nii.gz", f"scans/{scan}"), names)
    assert sum(names["result"].probabilities.values()) == pytest.approx(1)
    assert names["image"].shape == (1, 16, 16, 16) and names["logits"].shape == (1, 2)


def test_a_new_scan_that_is_far_from_the_training_scans_is_named_with_what_is_expected(
    finished: Path, tmp_path: Path
) -> None:
    trained = TrainedCheckpoint.read(finished / RUN / "fold-0-seed-0" / "best.ckpt")
    window = {"scheme": "window", "window_hu": (-160, 240)}
    replace(trained, plan=trained.plan | {"intensity": window}).write(tmp_path / "ct.ckpt")
    good = nibabel.load(finished / "cubes" / "scans" / "p000_0.nii.gz")
    values = np.asarray(good.dataobj)
    # The run alone says what is usual: it is copied to where nothing else is.
    shutil.copy(finished / RUN / "fold-0-seed-0" / "best.ckpt", tmp_path / "own.ckpt")
    for name, changed, affine in (
        ("coarse", values, good.affine * [[4], [4], [4], [1]]),
        ("shifted", values - 2048, good.affine),
        ("usual", values, good.affine),
    ):
        nibabel.save(nibabel.Nifti1Image(changed, affine), tmp_path / f"{name}.nii.gz")
    found = {
        run: predict_warnings(tmp_path, run, [tmp_path / f"{name}.nii.gz" for name in ("coarse", "shifted", "usual")])
        for run in ("own.ckpt", "ct.ckpt")
    }
    assert "voxel size in mm along left-right 6, expected" in found["own.ckpt"]["coarse.nii.gz"]
    assert "lowest values" in found["own.ckpt"]["shifted.nii.gz"] and found["own.ckpt"]["usual.nii.gz"] == ""
    assert "expected HU" in found["ct.ckpt"]["shifted.nii.gz"]


def predict_warnings(folder: Path, run: str, scans: list[Path]) -> dict[str, str]:
    """The column `warnings` by file name; the log has every one of them too."""
    done = Commands(folder)("predict", "scans", *map(str, scans), "--run", run, "--out", f"{run}.csv")
    table = pd.read_csv(folder / f"{run}.csv", keep_default_na=False)
    assert all(warning in done.stderr for cell in table["warnings"] for warning in cell.split(" | "))
    return {Path(path).name: cell for path, cell in zip(table["path"], table["warnings"], strict=True)}


def test_predicting_new_scans_keeps_the_good_and_names_the_bad(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    good = next((finished / "cubes" / "scans").glob("*.nii.gz"))
    shutil.copy(good, folder / "good.nii.gz")
    (folder / "bad.nii.gz").write_bytes(good.read_bytes()[:500])
    done = Commands(finished)(
        "predict",
        "scans",
        str(folder),
        "--run",
        str(RUN / "fold-0-seed-0"),
        "--out",
        str(tmp_path / "new.csv"),
        check=False,
    )
    assert done.returncode == 1
    assert "1 of 2 scans" in done.stderr and "bad.nii.gz" in done.stderr and "Traceback" not in done.stderr
    table = pd.read_csv(tmp_path / "new.csv", keep_default_na=False)
    assert [Path(name).name for name in table["path"]] == ["bad.nii.gz", "good.nii.gz"]
    assert table["prob_cube"][0] == table["error"][1] == "" and "bad.nii.gz" in table["error"][0]


def test_the_report_of_one_fold_of_several_is_called_a_first_look(finished: Path) -> None:
    page = (finished / "reports" / "cubes" / "tiny.html").read_text()
    assert "A first look: one of 2 folds was trained" in page and "fold 0 alone" in page
    assert first_look_statements({0, 1}, num_folds=2) == [] == first_look_statements({0}, num_folds=1)


class Links(HTMLParser):
    """Addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("img", "script", "link", "iframe"):
            self.loaded += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_report_is_one_file_that_loads_nothing_from_elsewhere(finished: Path) -> None:
    page = (finished / "reports" / "cubes" / "tiny.html").read_text()
    links = Links()
    links.feed(page)
    assert all(address.startswith("data:") for address in links.loaded)
    assert "tiny" in page and "AUROC" in page
    assert "5 scans, 3 of validation" in page and "the same voxels bit for bit" in page
    assert (finished / "reports" / "cubes" / "index.html").is_file()


def test_results_are_printed_with_intervals_and_the_report(finished: Path) -> None:
    text = Commands(finished)("results").stdout
    assert "tiny" in text and "reports/cubes/index.html" in text


@pytest.mark.parametrize(
    ("damage", "verb", "says"),
    [
        ("missing scan", "ingest", ["p000_0.nii.gz"]),
        ("unreadable scan", "ingest", ["p000_0.nii.gz"]),
        ("no label column", "ingest", ["label", "labels.csv"]),
        ("class in one patient", "ingest", ["cube", "1 patient"]),
        ("empty folder", "fetch", ["cubes"]),
    ],
)
def test_bad_input_is_one_clear_error_and_loses_nothing(copy: Path, damage: str, verb: str, says: list[str]) -> None:
    command = Commands(copy)
    command("fetch")
    before = outputs_of(copy)
    spoil(copy / "cubes", damage)
    done = command(verb, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for part in says:
        assert part in done.stderr
    assert outputs_of(copy) == before


def outputs_of(project: Path) -> dict[str, bytes]:
    """Files that stages wrote for the cohort, links to its source left out."""
    files = [path for path in (project / "data/cubes").glob("*.*") if not path.is_symlink()]
    return {path.name: path.read_bytes() for path in files}


def spoil(cubes: Path, damage: str) -> None:
    """Do to a cohort what happens to cohorts."""
    scan, table = cubes / "scans" / "p000_0.nii.gz", cubes / "labels.csv"
    rows = pd.read_csv(table)
    match damage:
        case "missing scan":
            scan.unlink()
        case "unreadable scan":
            scan.write_text("<html>404</html>")
        case "no label column":
            rows.drop(columns="label").to_csv(table, index=False)
        case "class in one patient":
            rows.assign(label=np.where(rows["patient_id"] == "p001", "cube", "plain")).to_csv(table, index=False)
        case "empty folder":
            shutil.rmtree(cubes)
            cubes.mkdir()


def stages_in(log: str) -> set[str]:
    return {line.split("'")[1].split("@")[0] for line in log.splitlines() if line.startswith("Running stage")}


def test_dvc_runs_every_stage_once_and_then_nothing(finished: Path, copy: Path) -> None:
    verbs = "fetch ingest split plan preprocess train predict evaluate audit explain report track"
    assert stages_in((finished / "repro.log").read_text()) == set(verbs.split())
    again = Commands(copy).dvc("repro")
    assert not stages_in(again) and "up to date" in again


def test_editing_evaluation_reruns_evaluation_and_what_follows_only(copy: Path) -> None:
    config = copy / "configs" / "tiny.yaml"
    config.write_text(config.read_text().replace("num_bootstrap: 200", "patient_rule: max"))
    assert stages_in(Commands(copy).dvc("repro")) == {"evaluate", "audit", "report", "track"}


def test_a_clone_knows_each_evaluation_of_the_test_set_and_evaluating_the_same_again_adds_none(
    copy: Path, tmp_path: Path
) -> None:
    looks, git = "test_looks/cubes/tiny.csv", ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    source = Commands(copy)
    for words in (["add", "--all"], ["commit", "--quiet", "--message", "a run"]):
        assert source.run([*git, *words]).returncode == 0
    assert source.run([*git, "clone", "--quiet", str(copy), str(tmp_path / "clone")]).returncode == 0
    clone = Commands(tmp_path / "clone")
    assert not (clone.folder / "runs").exists()
    assert (clone.folder / looks).read_bytes() == (copy / looks).read_bytes()
    assert len(pd.read_csv(clone.folder / looks)) == 1
    clone.dvc("cache", "dir", "--local", str(copy / ".dvc/cache"))
    evaluate = next(name for name in source.dvc("stage", "list", "--name-only").split() if name.startswith("evaluate@"))
    tables = [f"data/cubes/{name}" for name in ("cohort.csv", "ingest.json", "splits.csv", "leakage.json")]
    clone.dvc("checkout", *tables, *(str(RUN / f"predictions/fold-0-seed-0.{kind}") for kind in ("csv", "json")))
    clone.dvc("repro", "--single-item", "--force", evaluate)
    assert clone.run([*git, "status", "--porcelain", "test_looks", "dvc.lock"]).stdout == ""


@pytest.mark.parametrize("key", ["modality: MR", "laterality: irrelevant", "size_is_diagnostic: true"])
def test_what_decides_augmentation_is_followed_by_training(copy: Path, key: str) -> None:
    config = copy / "configs" / "cohorts" / "cubes.yaml"
    other = {"modality: MR": "modality: other", "laterality: irrelevant": "laterality: relevant"}
    config.write_text(config.read_text().replace(key, other.get(key, "size_is_diagnostic: false")))
    changed = json.loads(Commands(copy).dvc("status", "--json"))
    assert any(stage.startswith("train@") and key.split(":")[0] in str(why) for stage, why in changed.items())


def test_dvc_shows_metrics_and_plots(copy: Path) -> None:
    assert "auroc" in Commands(copy).dvc("metrics", "show")
    assert "index.html" in Commands(copy).dvc("plots", "show")


def test_predictions_without_their_last_rows_are_not_evaluated(copy: Path) -> None:
    path, command = copy / RUN / "predictions" / "fold-0-seed-0.csv", Commands(copy)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    stopped = command("evaluate", check=False)
    assert stopped.returncode == 1 and stopped.stderr.count("\n") == 1
    assert f"{len(lines) - 4} of {len(lines) - 1} scans that splits.csv holds out are there" in stopped.stderr


def test_overwritten_voxels_stop_a_training(copy: Path) -> None:
    store = copy / "data/cubes/preprocessed"
    for path in store.glob("*.nii"):
        content = bytearray(path.read_bytes())
        content[-64:] = bytes(64)
        path.write_bytes(content)
    shutil.rmtree(copy / RUN / "fold-0-seed-0")
    stopped = Commands(copy)("train", check=False)
    assert stopped.returncode == 1 and "its bytes changed since it was stored" in stopped.stderr
    assert "Traceback" not in stopped.stderr and not (copy / RUN / "fold-0-seed-0" / "best.ckpt").exists()


def test_no_stage_takes_an_empty_or_shortened_cohort_and_nothing_stored_is_lost(copy: Path) -> None:
    cohort, store, command = copy / "data/cubes/cohort.csv", copy / "data/cubes/preprocessed", Commands(copy)
    stored, lines = sorted(store.iterdir()), cohort.read_text().splitlines(keepends=True)
    splits = (copy / "data/cubes/splits.csv").read_bytes()
    for content, words in ((lines[:1], "no rows"), (lines[:-4], "ingest counted")):
        cohort.write_text("".join(content))
        for stage in ("split", "preprocess"):
            stopped = command(stage, check=False)
            assert stopped.returncode == 1 and words in stopped.stderr and stopped.stderr.count("\n") == 1
    assert sorted(store.iterdir()) == stored and (copy / "data/cubes/splits.csv").read_bytes() == splits
