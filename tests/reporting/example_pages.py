"""Pages made from generated predictions, and their text as a reader sees it."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import Cohort, Columns, Config
from pipeline.core.io import write_text, write_yaml
from pipeline.core.paths import Artifacts, TrainingKey
from pipeline.evaluation.evaluate import evaluate_table
from pipeline.evaluation.outputs import write_evaluation
from pipeline.evaluation.settings import Settings
from pipeline.reporting.inputs import CohortInputs, ReportInputs, read_report_inputs
from pipeline.reporting.pages import cohort_html, experiment_html, index_html
from pipeline.store.store import Store

FIRST = TrainingKey(fold=0, seed=0)
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect", "line", "circle"}
UNSAFE = "<script>alert(1)</script>"


class PageParser(HTMLParser):
    """Collect text and links, and fail on tags that are not closed in order."""

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


def parse(html: str) -> PageParser:
    page = PageParser()
    page.feed(html)
    assert page.open == []
    return page


def text_of(html: str) -> str:
    return " ".join(" ".join(parse(html).text).split())


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
    write_text(
        paths.ingest,
        json.dumps({"classes": ["healthy", "disease"], "problems": [], "flow": flow, "num_scans": len(table)}),
    )
    write_text(paths.leakage, json.dumps({"verdict": "clean", "findings": []}))
    write_yaml(paths.plan, {"orientation": "SPL", "reasons": {"orientation": "axial view"}})


def index(config: Config) -> str:
    return index_html(read_report_inputs(config))


COLUMNS = Columns(clinical=("age", "sex"), site="site")


def cohort_inputs(**changes) -> CohortInputs:
    """Twelve patients with two scans each; every third is ill, older and male, and the last three are the test set."""
    patients = np.repeat(np.arange(12), 2)
    ill = patients % 3 == 0
    table = pd.DataFrame({"scan_id": [f"s{row}" for row in range(24)], "patient_id": [f"p{n}" for n in patients]})
    table["label"] = np.where(ill, "disease", "healthy")
    table["age"] = np.where(patients == 1, "", (40 + patients + 20 * ill).astype(str))
    table["sex"] = np.where(ill, "m", np.where(patients % 2, "m", "f"))
    table["site"] = "north"
    splits = table[["scan_id", "patient_id", "label"]].assign(split=np.where(patients < 9, "development", "test"))
    splits["fold"] = np.where(patients < 9, (patients % 3).astype(str), "")
    flow = [
        {"step": "rows in the label table", "scans": 26, "patients": 13},
        {"step": "excluded: TRUNCATED", "scans": 2, "patients": 1},
        {"step": "scans in the cohort", "scans": 24, "patients": 12},
    ]
    known = {
        "table": table,
        "splits": splits,
        "ingest": {"classes": ["healthy", "disease"], "problems": [], "flow": flow},
        "leakage": {"verdict": "clean", "findings": []},
        "plan": {"orientation": "SPL", "spacing_mm": [2.0, 1.0, 1.0]},
    }
    return CohortInputs(**(known | changes))


def cohort_page(cohort: CohortInputs, folder: Path) -> str:
    source = {"kind": "phantom"}
    settings = Cohort(name="made", source=source, columns=COLUMNS, modality="MR", laterality="relevant")
    config = Config(name="tiny", cohort=settings, model={"name": "poolformer_s12"})
    return cohort_html(ReportInputs(config, cohort, Store(folder)))
