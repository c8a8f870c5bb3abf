"""Audits on the experiment page."""

import json

from pipeline.core.io import write_text
from pipeline.core.paths import Artifacts
from tests.reporting.example_pages import UNSAFE, experiment, predictions, text_of, write_run


def test_audits_show_their_verdicts_and_a_used_shortcut_is_beside_the_result_too(config):
    write_run(config, "tiny", predictions())
    without = text_of(experiment(config))
    assert "'python -m pipeline.audit'" in without
    part = {"value": 0.93, "p_value": 0.001, "adjusted_p_value": 0.003, "num_patients": 60, "reason": None}
    part |= {"low": 0.9, "high": 0.95, "shift": 1.2}
    nothing = {"verdict": "not assessed", "is_alarm": None, "summary": "Not assessed: few.", "reason": "few"}
    nothing |= {"metrics": {}}
    used = {"verdict": "shortcut used", "is_alarm": True, "summary": "It reads the site.", "reason": None}
    parts = {"available": part, "followed": part, "without_body": part | {"value": None, "adjusted_p_value": None}}
    by_kind = {"auroc": 0.9, "auroc_within": 0.7, "auroc_shared": 0.8, "difference": 0.2, "low": 0.1, "high": 0.3}
    again = {"name": "noisier", "num_patients": 40, "shift": 0.8, "low": 0.7, "high": 0.9, "adjusted_p_value": 0.01}
    stage = {"name": "stage1", "auroc": 0.8, "low": 0.7, "high": 0.9, "p_value": 0.01, "lead": 0, "lead_p_value": 1}
    audits = dict.fromkeys(("chance", "simple", "label_quality", "stability"), nothing) | {
        "shortcut": used | {"metrics": parts | {"auroc_by_kind": by_kind, "reacquired": [again]}},
        "stages": nothing | {"metrics": {"head_auroc": 0.9, "stages": [stage]}},
    }
    paths = Artifacts(config.root).run("made", "tiny")
    write_text(paths.audits, json.dumps(audits))
    row = f"{UNSAFE},val,healthy,disease,0.8,True"
    write_text(paths.doubtful_labels, f"patient_id,split,label,suggested,lead,is_suspect\n{row}\n")
    html = experiment(config)
    text = text_of(html)
    assert text.count("It reads the site.") == 2
    assert "Does the model use how the scan was acquired? Shortcut used." in text
    assert "among scans of the same acquisition 0.700" in text and "noisier (SD) +0.80 0.700 to 0.900" in text
    assert "Do labels leak into the test set? Not assessed." in text and "Signal by stage" in text
    assert UNSAFE not in html and "healthy disease 0.800" in text
