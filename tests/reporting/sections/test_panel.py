"""The headline panel on the experiment page, drawn from the tables that evaluate wrote."""

import pandas as pd
import pytest

from pipeline.core.io import write_csv
from pipeline.core.paths import Artifacts, EvaluationPaths
from pipeline.evaluation.outputs import evaluate_task, write_evaluation
from pipeline.evaluation.settings import Settings
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


@pytest.fixture
def paths(config) -> EvaluationPaths:
    return Artifacts(config.root).run("made", "tiny").evaluation


def test_the_panel_shows_the_written_table_whatever_is_in_it(config, paths):
    write_run(config, "tiny", predictions())
    table = pd.read_csv(paths.headline, dtype=str, keep_default_na=False)
    is_slope = table["metric"] == "calibration_slope"
    table.loc[is_slope, ["value", "low", "high", "calibrated_value"]] = ["0.123", "0.1", "0.2", ""]
    write_csv(paths.headline, table)
    html = experiment(config)
    text = text_of(html)
    assert "Calibration slope 0.123 0.100 to 0.200" in text
    assert "Observed / expected" in text and "Brier skill score" in text
    assert "evaluation.prevalence declares none" in text
    assert "Over the declared range of thresholds, 0.1 to 0.5" in text
    assert "smooth curve with its pointwise band" in text
    before, after = html.split('<section id="metrics">')
    for name in ("F1", "Balanced accuracy"):
        assert name not in before[before.index("<main") :] and name in after


def test_case_mix_and_flow_are_folded_below_the_panel(config, paths):
    write_run(config, "tiny", predictions())
    mix = pd.DataFrame(
        [
            ["sex", "1", "development", 40, 0.5, "", "", ""],
            ["sex", "1", "test", 20, 0.75, "", "", 0.53],
            ["age", "", "development", 40, 61, 50, 70, ""],
            ["age", "", "test", 20, 60, 51, 69, 0.04],
        ],
        columns=[
            "covariate",
            "category",
            "split",
            "num_patients",
            "value",
            "low_quartile",
            "high_quartile",
            "difference",
        ],
    )
    write_csv(paths.case_mix, mix)
    flow = pd.DataFrame(
        [["divided", "test", 31, 20], ["rows", "", 1031, 120]], columns=["step", "split", "scans", "patients"]
    )
    write_csv(paths.participant_flow, flow)
    text = text_of(experiment(config))
    assert "sex: 1 50% of 40 75% of 20 0.53 △" in text
    assert "age 61 (50 to 70) 60 (51 to 69) 0.04" in text
    assert "divided test 31 20" in text and "rows 1,031 120" in text


def test_several_classes_have_a_table_of_their_own(config, paths):
    table = predictions(patients=90)
    mild = 0.4 * table["prob_healthy"]
    table = table.assign(prob_mild=mild, prob_healthy=table["prob_healthy"] - mild)
    table = table.rename(columns={"prob_disease": "prob_z", "prob_mild": "prob_disease"})
    classes = {"healthy": "healthy", "disease": "z"}
    table["label"] = [classes[label] if n % 2 else "disease" for n, label in enumerate(table["label"])]
    write_run(config, "tiny", table)
    write_evaluation(evaluate_task(table, Settings(num_bootstrap=100)), paths)
    text = text_of(experiment(config))
    assert "Each class or label against the rest" in text and "defined for two classes" in text
