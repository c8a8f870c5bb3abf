"""All audits from tables, with flaws planted in them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.artifacts import RunPaths
from pipeline.evaluation.audits.auditing import Audits, audit_run, audit_stability, write_audits
from pipeline.evaluation.audits.evidence import Evidence, shortcut_table
from pipeline.evaluation.fitted.frozen import freeze
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.background import Background
from pipeline.evaluation.tables.predictions import by_patient, check_predictions

CLASSES = ("well", "ill")


def made(seed: int = 0, patients: int = 200, shortcut: float = 0.0, label_source: tuple[str, ...] = ()) -> Evidence:
    """Two scans a patient; site `b` goes with `ill`, and the model with the site, as strongly as `shortcut` says."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(patients), 2)
    is_ill = rng.random(patients) < 0.4
    follows = rng.random(patients) < shortcut
    is_b = np.where(follows, is_ill, rng.random(patients) < 0.5)
    scans = pd.DataFrame(
        {"scan_id": [f"s{k:03d}" for k in range(2 * patients)], "patient_id": [f"p{k}" for k in number]}
    )
    labels = np.array(CLASSES)[is_ill[number].astype(int)]
    is_test = number % 2 == 0
    fold = np.where(is_test, "", (number // 2 % 4).astype(str))
    splits = scans.assign(label=labels, split=np.where(is_test, "test", "development"), fold=fold)
    cohort = scans.assign(label=labels, site=np.where(is_b[number], "b", "a"), secret=labels, shape="8x8x8")
    logits = 1.5 * is_ill + 3 * shortcut * is_b + rng.normal(size=patients)
    shown = is_test | (fold == "0")
    predictions = scans[shown].assign(label=labels[shown], fold=0, split=np.where(is_test, "test", "val")[shown])
    predictions["prob_ill"] = 1 / (1 + np.exp(-logits[number[shown]] + 0.5))
    predictions.insert(5, "prob_well", 1 - predictions["prob_ill"])
    stages = {f"stage{k}": rng.normal(size=(shown.sum(), 4)) for k in (1, 2, 3, 4)}
    for stage in stages.values():
        stage[:, 0] += logits[number[shown]]
    tested = predictions[predictions["split"] == "test"].drop_duplicates("patient_id").drop(columns=["fold", "split"])
    changes = pd.concat([tested.assign(change=name) for name in ("none", "mirrored", "noisier")])
    return Evidence(
        predictions=check_predictions(predictions),
        background=Background(
            cohort, splits, acquisition=("site", "secret") if label_source else ("site",), label_source=label_source
        ),
        summaries={"blurred volume": pd.DataFrame(rng.normal(size=(2 * patients, 20)), index=scans["scan_id"])},
        embeddings={0: {"scan_id": predictions["scan_id"].to_numpy(), **stages}},
        changes=changes,
    )


def table_of(evidence: Evidence) -> pd.DataFrame:
    return shortcut_table(evidence, by_patient(evidence.predictions, "mean"))[0]


@pytest.fixture(scope="module")
def clean() -> Audits:
    return audit_run(made(), Settings())


def test_a_clean_experiment_raises_no_alarm(clean):
    assert {name: finding.is_alarm for name, finding in clean.findings.items()} == dict.fromkeys(
        ("shortcut", "chance", "simple", "label_quality", "stages", "stability"), False
    )


def test_a_planted_site_shortcut_is_found_used():
    found = audit_run(made(shortcut=0.8), Settings()).findings
    assert found["shortcut"].verdict == "shortcut used"
    # The stages carry the label, not the site; that the head follows the site is no signal left unused.
    assert {name for name, finding in found.items() if finding.is_alarm} <= {"shortcut", "simple", "label_quality"}


def test_the_size_of_files_is_judged_by_regressions_that_never_saw_the_patient():
    evidence = made()
    is_ill = evidence.background.splits.set_index("scan_id")["label"] == "ill"
    table = table_of(replace(evidence, file_bytes=1000 + 500 * is_ill))
    assert roc_auc_score(table["is_positive"], table["file_size"]) == 1


def test_what_the_label_was_made_from_never_enters():
    """`secret` is the label itself, named as acquisition and as the label's source."""
    table = table_of(made(label_source=("secret",)))
    assert table["acquisition"].nunique() < 20
    assert audit_run(made(label_source=("secret",)), Settings()).findings["shortcut"].verdict == "none found"


def test_acquisition_is_judged_on_every_patient_and_the_model_on_those_it_did_not_train_on():
    table = table_of(made())
    assert table["acquisition"].notna().all() and len(table) == 200
    assert (table["logit"].notna() == ((table["part"] == -1) | (table["part"] == 0))).all()


def test_stability_is_judged_on_the_scale_of_the_frozen_threshold():
    """Two networks, each calibrated; the first states every logit 4 too high, and a change turns its answers round.

    As it states them, all its answers are over the common threshold before and after.
    """
    evidence, rng = made(patients=900), np.random.default_rng(0)
    tables, splits = [], evidence.background.splits.set_index("scan_id")
    for fold in (0, 1):
        shown = splits[(splits["split"] == "test") | (splits["fold"] == str(fold))]
        logits = 2 * (shown["label"] == "ill") - 1 + rng.normal(size=len(shown)) + 4 * (fold == 0)
        split = np.where(shown["split"] == "test", "test", "val")
        table = shown.reset_index()[["scan_id", "patient_id", "label"]].assign(fold=fold, split=split)
        tables.append(
            table.assign(prob_well=1 / (1 + np.exp(logits.to_numpy())), prob_ill=lambda t: 1 - t["prob_well"])
        )
    first = tables[0][tables[0]["split"] == "test"].drop_duplicates("patient_id")
    inverted = 1 / (1 + np.exp(-(8 - np.log(first["prob_ill"] / first["prob_well"]))))
    flipped = first.assign(change="noisier", prob_ill=inverted, prob_well=1 - inverted)
    changes = pd.concat([first.assign(change="none"), flipped]).drop(columns=["fold", "split"])
    predictions = check_predictions(pd.concat(tables, ignore_index=True))
    told = replace(evidence, predictions=predictions, changes=changes, changes_fold=0)
    found = audit_stability(told, freeze(predictions, Settings()), 0.95)
    assert found.figures["changes"][0]["flipped"] > 0.8


def test_several_classes_get_the_audits_that_they_can_have():
    evidence, rng = made(), np.random.default_rng(0)
    names = (*CLASSES, "worse")
    probs = rng.dirichlet(np.ones(3), 200)
    labels = np.array([rng.choice(names, p=row) for row in probs])
    table = evidence.predictions.drop(columns=["prob_well", "prob_ill"])
    number = table["patient_id"].str.removeprefix("p").astype(int).to_numpy()
    table = table.assign(label=labels[number], **{f"prob_{name}": probs[number, k] for k, name in enumerate(names)})
    changes = pd.concat([table.drop_duplicates("patient_id").assign(change=name) for name in ("none", "noisier")])
    found = audit_run(replace(evidence, predictions=check_predictions(table), changes=changes), Settings()).findings
    assert found["shortcut"].reason == found["stages"].reason == "this audit is for two classes"
    assert found["label_quality"].is_alarm is False and found["stability"].is_alarm is False


def test_several_labels_a_scan_are_not_audited():
    found = audit_run(made(), Settings(task="multilabel")).findings
    assert {finding.reason for finding in found.values()} == {"audits are for one label a scan"}


def test_patients_of_two_labels_have_no_audit_by_patient():
    evidence = made()
    evidence.background.splits.loc[0, "label"] = "ill"
    evidence.background.splits.loc[1, "label"] = "well"
    assert "different labels" in audit_run(evidence, Settings()).findings["shortcut"].reason


def test_the_files_are_strict_json_with_alarms_as_numbers(clean, tmp_path: Path):
    paths = RunPaths(tmp_path)
    write_audits(clean, paths)
    assert set(json.loads(paths.audit_summary.read_text()).values()) == {0}
    found = json.loads(paths.audits.read_text())
    assert list(found)[0] == "shortcut" and found["chance"]["verdict"] == "at chance"
    ranked = pd.read_csv(paths.doubtful_labels)
    assert len(ranked) == 125 and ranked["lead"].iloc[0] >= ranked["lead"].iloc[1]
