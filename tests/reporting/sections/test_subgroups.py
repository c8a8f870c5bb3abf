"""Subgroups on the experiment page."""

from pipeline.core.io import write_text
from pipeline.core.paths import Artifacts
from pipeline.evaluation.subgroups import RATES
from tests.reporting.example_pages import experiment, predictions, text_of, write_run


def test_groups_are_shown_with_their_auroc_and_small_ones_are_counted(config):
    write_run(config, "tiny", predictions())
    rates = [f"{name}{end}" for name in RATES for end in ("", "_low", "_high", "_reason")]
    few = "0.9,,,a share of 8 patients"
    write_text(
        Artifacts(config.root).run("made", "tiny").evaluation.subgroups,
        f"covariate,group,num_patients,auroc,low,high,p_value,adjusted_p_value,reason,{','.join(rates)}\n"
        f"site,north,40,0.9,0.8,0.95,0.001,0.002,,0.8,0.7,0.9,,{few},-0.5,-0.9,-0.1,\n"
        f"site,south,40,0.6,0.5,0.7,0.001,0.002,,{few},{few},{few}\n"
        f"site,west,4,,,,0.001,0.002,4 patients{',' * 12}\n",
    )
    text = text_of(experiment(config))
    assert "The AUROC differs between groups of site. 1 groups have too few patients for an AUROC." in text
    assert (
        "site north 40 0.900 0.800 to 0.950 0.002 0.800 (0.700 to 0.900) 0.900 (a share of 8 patients) "
        "−0.500 (−0.900 to −0.100)" in text
    )
