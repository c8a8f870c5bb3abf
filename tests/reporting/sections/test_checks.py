"""Audits and baselines as the experiment's page tells of them."""

import json

from pipeline.core.io import write_text
from pipeline.core.paths import Artifacts
from tests.reporting.pages_made import NASTY, experiment, predictions, words, write_run


def test_a_shortcut_that_acquisition_offers_is_said_aloud(config):
    write_run(config, "tiny", predictions())
    write_text(
        Artifacts(config.root).run("made", "tiny").baselines,
        "name,columns,num_patients,auroc,low,high,advantage,advantage_low,advantage_high,reason\n"
        "clinical covariates,,60,,,,,,,no column has this role\n"
        "acquisition,site,60,0.8,0.7,0.9,0.05,-0.05,0.15,\n",
    )
    text = words(experiment(config))
    assert "a shortcut is available to the model" in text
    assert "no column has this role" in text


def test_audits_stand_with_their_verdicts_and_a_used_shortcut_beside_the_result(config):
    write_run(config, "tiny", predictions())
    without = words(experiment(config))
    assert "'python -m pipeline.audit'" in without
    part = {"value": 0.93, "p_value": 0.001, "adjusted_p_value": 0.003, "num_patients": 60, "reason": None}
    nothing = {"verdict": "not judged", "is_alarm": None, "words": "Not judged: few.", "figures": {}, "reason": "few"}
    used = {"verdict": "shortcut used", "is_alarm": True, "words": "It reads the site.", "reason": None}
    parts = {"available": part, "followed": part, "without_body": part | {"value": None, "adjusted_p_value": None}}
    fall = {"auroc": 0.9, "auroc_within": 0.7, "p_value": 0.01}
    stage = {"name": "stage1", "auroc": 0.8, "low": 0.7, "high": 0.9, "p_value": 0.01, "lead": 0, "lead_p_value": 1}
    audits = dict.fromkeys(("chance", "simple", "label_quality", "stability"), nothing) | {
        "shortcut": used | {"figures": parts | {"fall": fall}},
        "stages": nothing | {"figures": {"head_auroc": 0.9, "stages": [stage]}},
    }
    paths = Artifacts(config.root).run("made", "tiny")
    write_text(paths.audits, json.dumps(audits))
    row = f"{NASTY},val,healthy,disease,0.8,True"
    write_text(paths.doubtful_labels, f"patient_id,split,label,suggested,lead,is_suspect\n{row}\n")
    html = experiment(config)
    text = words(html)
    assert text.count("It reads the site.") == 2
    assert "Does it read how the scan was made? Shortcut used." in text and "0.900 → 0.700" in text
    assert "Do labels reach the test set? Not judged." in text and "Signal by stage" in text
    assert NASTY not in html and "healthy disease 0.800" in text
