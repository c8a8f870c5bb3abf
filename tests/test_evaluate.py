"""The evaluate, report and results stages through their command lines."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit
from scipy.stats import norm

from pipeline.evaluate import evaluate_table
from tests.conftest import REPOSITORY, Commands


def run(verb: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return Commands(REPOSITORY)(verb, *map(str, arguments), check=False)


def predictions() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 2
    probs = 1 / (1 + np.exp(-(rng.normal(size=80) + 2 * (truth - 0.5))))
    return pd.DataFrame(
        {
            "scan_id": [f"{row:03d}" for row in range(80)],
            "patient_id": [f"{row:03d}" for row in range(80)],
            "fold": 0,
            "split": np.where(np.arange(80) < 40, "val", "test"),
            "label": np.array(["healthy", "disease"])[truth],
            "prob_healthy": 1 - probs,
            "prob_disease": probs,
        }
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.csv"
    predictions().to_csv(path, index=False)
    return path


def test_a_bare_table_is_evaluated_without_any_config(table, tmp_path):
    cohort = predictions()[["patient_id"]].assign(sex=["F", "F", "M", "M"] * 20)
    cohort.to_csv(tmp_path / "cohort.csv", index=False)
    done = run(
        "evaluate",
        "table",
        table,
        "--out",
        tmp_path / "out",
        "--num-bootstrap",
        "200",
        "--cohort",
        tmp_path / "cohort.csv",
        "--covariates",
        "sex",
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["test"]["patient"]["auroc"]) == {"value", "low", "high", "num_patients", "reason"}
    tables = {path.stem for folder in ("plots", "tables") for path in (tmp_path / "out" / folder).iterdir()}
    assert tables == {
        *("roc", "precision_recall", "calibration", "calibration_after", "decision_curve", "confusion", "scores"),
        *("calibration_smooth", "calibration_smooth_after", "headline"),
        *("operating_points", "models", "subgroups", "baselines"),
    }
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["test"]["auroc"] == metrics["test"]["patient"]["auroc"]["value"]
    assert set(pd.read_csv(tmp_path / "out" / "tables" / "subgroups.csv")["group"]) == {"F", "M"}


def test_a_calibrated_model_of_a_hundred_patients_has_the_intervals_of_textbooks(tmp_path):
    """Prevalence .3 and AUROC .6: Wald's interval of the intercept, and the mean squared distance's of the Brier score.

    Patients drawn with the classes' counts held fixed would have intervals a fifth and a half as wide.
    """
    rng = np.random.default_rng(3)
    labels, distance = (rng.random(100) < 0.3).astype(int), np.sqrt(2) * norm.ppf(0.6)
    logits = np.log(0.3 / 0.7) + distance * (rng.normal(size=100) + distance * labels) - distance**2 / 2
    probs = expit(logits)
    ids = [f"{row:03d}" for row in range(100)]
    table = pd.DataFrame({"scan_id": ids, "patient_id": ids, "label": np.array(["well", "ill"])[labels]})
    table.assign(prob_well=1 - probs, prob_ill=probs).to_csv(tmp_path / "table.csv", index=False)
    done = run("evaluate", "table", tmp_path / "table.csv", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]["patient"]
    wald = sm.GLM(labels, np.ones(100), sm.families.Binomial(), offset=logits).fit().conf_int()[0]
    squares = (probs - labels) ** 2
    error = squares.std(ddof=1) / 10
    textbook = {
        "calibration_intercept": wald,
        "brier_score": (squares.mean() - 1.96 * error, squares.mean() + 1.96 * error),
    }
    for name, (low, high) in textbook.items():
        close = 0.05 * (high - low)
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high), abs=close), name


def test_a_bare_table_can_have_all_that_a_config_can_say(table, tmp_path):
    rows = predictions()
    site = np.where(np.arange(80) % 4 < 2, "1", "2")
    cohort = rows[["patient_id", "label"]].assign(age=np.arange(80) % 37 + 20, site=site, report=rows["label"])
    cohort.to_csv(tmp_path / "cohort.csv", index=False)
    splits = rows[["patient_id", "label"]].assign(
        split=np.where(rows["split"] == "test", "test", "development"), fold=0
    )
    splits.to_csv(tmp_path / "splits.csv", index=False)
    words = ["--splits", tmp_path / "splits.csv", "--covariates", "age", "--acquisition", "report", "--site", "site"]
    words += ["--label-source", "report", "--operating-point", "sensitivity", "--operating-target", "0.8"]
    words += ["--patient-rule", "max", "--calibration-bins", "equal_count", "--conformal-coverage", "0.8"]
    words += ["--miss-cost", "3", "--seed", "1", "--num-bootstrap", "100"]
    out = tmp_path / "out"
    done = run("evaluate", "table", table, "--out", out, "--cohort", tmp_path / "cohort.csv", *words)
    assert done.returncode == 0, done.stderr
    baselines = pd.read_csv(out / "tables" / "baselines.csv").set_index("name")
    assert baselines.loc["clinical covariates", "auroc"] > 0 and baselines.loc["acquisition", "columns"] == "site"
    assert set(pd.read_csv(out / "tables" / "subgroups.csv")["covariate"]) == {"age", "site"}
    assert json.loads((out / "frozen" / "operating_point.json").read_text())["patient"]["rule"] == "sensitivity"
    assert json.loads((out / "frozen" / "conformal.json").read_text())["patient"]["coverage"] == 0.8
    done = run("evaluate", "table", table, "--out", out, "--site", "site")
    assert done.returncode == 1 and "need the table that --cohort names" in done.stderr


def test_an_impossible_probability_is_one_clear_line(table, tmp_path):
    table.write_text(table.read_text().replace(predictions().iloc[5]["prob_disease"].astype(str), "nan"))
    done = run("evaluate", "table", table, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "scan '005' has prob_disease = nan" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_tables_of_several_labels_and_of_another_prevalence_are_judged_without_any_config(table, tmp_path):
    labels = predictions().assign(label=lambda rows: rows["label"].replace({"healthy": "none"}))
    labels = labels.rename(columns={"prob_healthy": "prob_cyst"})
    labels.loc[::3, "label"] += ";cyst"
    labels.to_csv(tmp_path / "labels.csv", index=False)
    for words, metric in (
        (["table", tmp_path / "labels.csv", "--task", "multilabel"], "auroc_cyst"),
        (["table", table, "--prevalence", "0.02"], "positive_predictive_value_at_prevalence"),
    ):
        done = run("evaluate", *words, "--out", tmp_path / "out", "--num-bootstrap", "100")
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "out/metrics.json").read_text())["test"]["patient"][metric]["value"] is not None


@pytest.mark.slow
def test_evaluate_report_and_results_run_from_a_config(tmp_path):
    folder = tmp_path / "runs" / "phantom" / "3d_poolformer" / "predictions"
    folder.mkdir(parents=True)
    predictions().to_csv(folder / "fold-0-seed-0.csv", index=False)
    (folder / "fold-0-seed-0.json").write_text('{"checkpoint": "made up"}')
    (tmp_path / "data" / "phantom").mkdir(parents=True)
    cohort = predictions()[["scan_id", "patient_id", "label"]].assign(age="50", sex="F", scanner="A", site="north")
    cohort.to_csv(tmp_path / "data" / "phantom" / "cohort.csv", index=False)
    in_test = predictions()["split"] == "test"
    splits = cohort.assign(split=np.where(in_test, "test", "development"), fold=np.where(in_test, "", "0"))
    splits.to_csv(tmp_path / "data" / "phantom" / "splits.csv", index=False)
    # Test patient 041 is validation patient 001 once more, and a diseased one of forty-one has no usable scan.
    pair = {"kind": "near-duplicate", "scans": ["001", "041"], "across_splits": True, "accepted": True, "reason": ""}
    leaks = {"verdict": "accepted", "findings": [pair | {"code": "near-duplicate-1", "message": "the same content"}]}
    (tmp_path / "data" / "phantom" / "leakage.json").write_text(json.dumps(leaks))
    failed = {"scan_id": "080", "patient_id": "080", "label": "disease", "path": "x", "code": "NII-EMPTY"}
    counted = {"classes": ["healthy", "disease"], "problems": [], "flow": [], "num_scans": 80, "excluded": [failed]}
    (tmp_path / "data" / "phantom" / "ingest.json").write_text(json.dumps(counted))
    chosen = (
        "--config",
        "3d_poolformer.yaml",
        "cohort=phantom",
        f"root={tmp_path}",
        "folds=[0]",
        "experiments=[3d_poolformer]",
        "evaluation.num_bootstrap=200",
    )
    for verb in ("evaluate", "report"):
        done = run(verb, *chosen)
        assert done.returncode == 0, done.stderr
    metrics = json.loads((folder.parent / "evaluation" / "metrics.json").read_text())["test"]["patient"]
    assert metrics["without_twins_auroc"]["num_patients"] == 39
    assert metrics["intended_sensitivity"]["value"] == pytest.approx(metrics["sensitivity"]["value"] * 40 / 41)
    summary = json.loads((folder.parent / "evaluation" / "summary.json").read_text())["test"]
    assert summary["without_twins_auroc_low"] < summary["without_twins_auroc"] < summary["without_twins_auroc_high"]
    page = (tmp_path / "reports" / "phantom" / "3d_poolformer.html").read_text()
    assert "1 of 40 test patients have a near twin in training" in page
    assert "1.2% of the cohort have no usable scan" in page
    reports = tmp_path / "reports" / "phantom"
    assert {path.name for path in reports.iterdir()} == {"3d_poolformer.html", "cohort.html", "index.html"}
    done = run("results", *chosen)
    assert done.returncode == 0, done.stderr
    auroc = json.loads((folder.parent / "evaluation" / "summary.json").read_text())["test"]["auroc"]
    assert f"{auroc:.3f}" in done.stdout
    assert str(reports / "index.html") in done.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.assign(patient_id=table.index.astype(str)), "'000' is there as '0'"),
        (lambda table: table.assign(patient_id="sub-" + table["patient_id"]), "'000' is there as 'sub-000'"),
        (lambda table: table.assign(patient_id="other" + table["patient_id"]), "none of the 80 patients is there"),
        (lambda table: table.assign(patient_id=table["patient_id"].where(table.index > 20, "")), "21 rows have no pat"),
        (lambda table: pd.concat([table, table[:1].assign(sex="M")]), "patient '000' has sex 'F' and 'M'"),
        (lambda table: table[:0], "no rows, expected one a patient"),
    ],
)
def test_a_table_that_does_not_join_is_an_error_not_a_silent_gap(table, tmp_path, change, words):
    cohort = predictions()[["patient_id"]].assign(sex=["F", "F", "M", "M"] * 20)
    change(cohort).to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(ValueError, match=words):
        evaluate_table(table, out=tmp_path / "out", cohort=tmp_path / "cohort.csv", covariates=["sex"])
    assert not (tmp_path / "out").exists()


def test_blank_patients_are_no_patient(table, tmp_path):
    predictions().assign(patient_id=[""] * 21 + ["a"] * 59).to_csv(table, index=False)
    with pytest.raises(ValueError, match="21 rows have no patient_id, such as row 2, 3, 4"):
        evaluate_table(table, out=tmp_path / "out")
