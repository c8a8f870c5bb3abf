"""Classes, sites and ids that look like other types or like markup stay what they are, from the table to W&B."""

import html
import json
import re
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from tests.conftest import COHORT, Commands, cube_scan, write_project

pytestmark = pytest.mark.slow
STAGES = ("fetch", "ingest", "split", "plan", "preprocess", "train", "predict", "evaluate", "explain", "report")
BINARY = ("0", "1")
SEVERAL = ("~x", "None", "1e5", "NA", "/x $x$ <b>&amp", "\u05e9\u05dc\u05d5\u05dd \U0001f9e0 " + "long " * 40 + "end")
SITES = ("NA", "007", "a\rb", "<i>x</i>", "None", "e,f;g")
AWKWARD_IDS = ("007", "1e5", "None", "True", "$x$", "~y", "a;b", "<b>x</b>", "\U0001f9e0", "x" * 200)
AWKWARD_IDS += ("\u05d0" * 150, "\u05d0" * 149)
RUN = Path("runs/cubes/tiny")


def write_cohort(folder: Path, classes: tuple[str, ...], suffix: str) -> pd.DataFrame:
    """Twenty-four patients with a scan each, whose ids, classes and sites go round the lists."""
    write_project(folder, num_patients=0)
    generator = np.random.default_rng(0)
    rows = []
    for number in range(24):
        label = number % len(classes)
        nibabel.save(cube_scan(generator, label % 2 == 1, variant=number), folder / "cubes" / f"{number}.nii.gz")
        scan_id = AWKWARD_IDS[number] if number < len(AWKWARD_IDS) else f"s{number}"
        row = {"scan_id": scan_id, "patient_id": f"{scan_id}.", "path": f"{number}.nii.gz"}
        rows.append(row | {"label": classes[label], "site": SITES[(number // 6 + number) % len(SITES)]})
    table = pd.DataFrame(rows)
    if suffix == "xlsx":
        table["site"] = table["site"].str.replace("\r", " ")  # XML cannot hold it
        table.to_excel(folder / "cubes" / "labels.xlsx", index=False)
    else:
        table.to_csv(folder / "cubes" / "labels.csv", index=False, lineterminator="\r\n")
    (folder / "configs" / "cohorts" / "cubes.yaml").write_text(
        COHORT.replace("labels.csv", f"labels.{suffix}")
        .replace("columns: {}", f"columns: {{site: site}}\nclasses: {json.dumps(classes, ensure_ascii=False)}")
        .replace("positive_class: cube", 'positive_class: "1"' if classes == BINARY else "")
    )
    return table


@pytest.mark.parametrize(("classes", "suffix"), [(BINARY, "csv"), (SEVERAL, "xlsx")])
def test_awkward_names_survive_every_stage(tmp_path: Path, classes: tuple[str, ...], suffix: str) -> None:
    table = write_cohort(tmp_path, classes, suffix).set_index("scan_id")
    command = Commands(tmp_path)
    for stage in STAGES:
        command(stage, *(["training.max_epochs=1"] if stage == "train" else []))
    command("track", "tracking.mode=offline")

    cohort = pd.read_csv(tmp_path / "data/cubes/cohort.csv", dtype=str, keep_default_na=False).set_index("scan_id")
    assert cohort[["label", "site"]].to_dict() == table[["label", "site"]].to_dict()
    predictions = pd.read_csv(tmp_path / RUN / "predictions/fold-0-seed-0.csv", dtype=str, keep_default_na=False)
    assert predictions.columns[-len(classes) :].tolist() == [f"prob_{name}" for name in classes]
    assert predictions["label"].tolist() == table["label"][predictions["scan_id"]].tolist()

    confusion = pd.read_csv(tmp_path / RUN / "evaluation/plots/confusion.csv", dtype=str, keep_default_na=False)
    counts = pd.crosstab(confusion["actual"], confusion["predicted"]).reindex(index=classes, columns=classes)
    page = (tmp_path / "reports/cubes/tiny.html").read_text()
    assert drawn_counts(page, classes) == counts.fillna(0).astype(int).to_numpy().ravel().tolist()
    of_cohort = (tmp_path / "reports/cubes/cohort.html").read_text()
    for text, names in ((page, classes), (of_cohort, (*classes, *table["site"].str.replace("\r", "\n")))):
        assert [name for name in names if html.escape(name, quote=False) not in text] == []
        assert "<i>x</i>" not in text and "<b>&amp" not in text

    sent = min((tmp_path / "wandb").glob("*/files/media/table/tiny/charts/confusion_table*.json"))
    assert Counter(map(tuple, confusion[["actual", "predicted"]].to_numpy())) == {
        (actual, predicted): number for actual, predicted, number in json.loads(sent.read_text())["data"]
    }


def drawn_counts(page: str, classes: tuple[str, ...]) -> list[int]:
    """The counts in the confusion figure, in the order of its rows."""
    figures = [figure for figure in re.findall(r"<svg.*?</svg>", page, re.S) if ">true<" in figure]
    (texts,) = (re.findall(r"<text[^>]*>([^<]*)</text>", figure) for figure in figures)
    return [int(text) for text in texts[texts.index("true") + 1 :: 2][: len(classes) ** 2]]
