"""Subgroups on the experiment page."""

from pipeline.core.io import write_text
from pipeline.core.paths import Artifacts
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


def test_groups_are_shown_with_their_auroc_and_small_ones_are_counted(config):
    write_run(config, "tiny", predictions())
    write_text(
        Artifacts(config.root).run("made", "tiny").evaluation.subgroups,
        "covariate,group,num_patients,auroc,low,high,p_value,adjusted_p_value,reason\n"
        "site,north,40,0.9,0.8,0.95,0.001,0.002,\nsite,south,40,0.6,0.5,0.7,0.001,0.002,\n"
        "site,west,4,,,,0.001,0.002,4 patients\n",
    )
    text = text_of(experiment(config))
    assert "The AUROC differs between groups of site. 1 groups have too few patients for an AUROC." in text
    assert "site north 40 0.900 0.800 to 0.950 0.002" in text
