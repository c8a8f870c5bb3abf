"""Pages made of invented predictions, and what their reader sees."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.core.io import write_text, write_yaml
from pipeline.core.paths import Artifacts, TrainingKey
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.outputs import write_evaluation
from pipeline.evaluation.settings import Settings
from pipeline.reporting.inputs import read_report_inputs
from pipeline.reporting.pages import experiment_html, index_html

FIRST = TrainingKey(fold=0, seed=0)
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect", "line", "circle"}
NASTY = "<script>alert(1)</script>"


class Balanced(HTMLParser):
    """Collects text, and fails on tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html: str) -> Balanced:
    page = Balanced()
    page.feed(html)
    assert page.open == []
    return page


def words(html: str) -> str:
    return " ".join(" ".join(read(html).text).split())


def predictions(signal: float = 1.5, seed: int = 0, patients: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for split in ("val", "test"):
        for number in range(patients):
            truth = number % 3 == 0
            prob = 1 / (1 + np.exp(-(signal * (truth - 0.5) + rng.normal())))
            name = f"{split}{number}"
            rows.append([f"s-{name}", f"p-{name}", 0, split, "disease" if truth else "healthy", 1 - prob, prob])
    return pd.DataFrame(rows, columns="scan_id patient_id fold split label prob_healthy prob_disease".split())


def write_run(config: Config, name: str, table: pd.DataFrame) -> None:
    paths = Artifacts(config.root).run("made", name)
    write_text(paths.predictions(FIRST), table.to_csv(index=False))
    write_evaluation(evaluate_table(table, Settings(num_bootstrap=200)), paths.evaluation)


def experiment(config: Config, name: str = "tiny") -> str:
    inputs = read_report_inputs(config.model_copy(update={"experiments": (name,)}))
    return experiment_html(replace(inputs, config=config, run=inputs.runs[0]))


def write_cohort(config: Config, table: pd.DataFrame, site: str = "north") -> None:
    paths = Artifacts(config.root).cohort("made")
    scans = table[["scan_id", "patient_id", "label"]].assign(path="x.nii.gz", age=np.arange(len(table)) % 50, site=site)
    write_text(paths.cohort, scans.to_csv(index=False))
    splits = table[["scan_id", "patient_id", "label"]].assign(
        split=np.where(table["split"] == "test", "test", "development"),
        fold=np.where(table["split"] == "test", "", "0"),
    )
    write_text(paths.splits, splits.to_csv(index=False))
    flow = [
        {"step": "rows in the label table", "scans": 121, "patients": 121},
        {"step": "excluded: TRUNCATED", "scans": 1, "patients": 1},
    ]
    write_text(paths.ingest, json.dumps({"classes": ["healthy", "disease"], "problems": [], "flow": flow}))
    write_text(paths.leakage, json.dumps({"verdict": "clean", "findings": []}))
    write_yaml(paths.plan, {"orientation": "SPL", "reasons": {"orientation": "axial view"}})


def index(config: Config) -> str:
    return index_html(read_report_inputs(config))
