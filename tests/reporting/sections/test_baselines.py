"""Simple predictors on the experiment page."""

from pipeline.core.io import write_text
from pipeline.core.paths import Artifacts
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


def test_acquisition_that_predicts_the_label_is_a_caution(config):
    write_run(config, "tiny", predictions())
    write_text(
        Artifacts(config.root).run("made", "tiny").evaluation.baselines,
        "name,columns,num_patients,auroc,low,high,advantage,advantage_low,advantage_high,reason\n"
        "clinical covariates,,60,,,,,,,no column has this role\n"
        "acquisition,site,60,0.8,0.7,0.9,0.05,-0.05,0.15,\n",
    )
    text = text_of(experiment(config))
    assert "a shortcut is available to the model" in text
    assert "no column has this role" in text
