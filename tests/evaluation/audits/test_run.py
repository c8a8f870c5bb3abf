"""All audits from tables, with flaws planted in them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.core.paths import RunPaths, TrainingKey
from pipeline.evaluation.audits.evidence import Evidence, shortcut_table
from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import enough_shuffles
from pipeline.evaluation.audits.run import Audits, audit_run, audit_stability, combine, write_audits
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.decision_rule import fit_on_validation
from pipeline.evaluation.predictions import aggregate_by_patient, check_predictions
from pipeline.evaluation.settings import Settings

QUIET, LOUD = (
    AuditFinding("at chance", False, "Nothing.", {"p": 0.5}),
    AuditFinding("labels leak", True, "Look.", {"p": 0.0}),
)


def test_one_class_with_an_alarm_is_an_alarm_about_it():
    found = combine({"a": QUIET, "b": LOUD, "c": LOUD})
    assert found.is_alarm and found.verdict == "labels leak (b, c)" and found.summary == "b, c: Look."
    assert found.metrics["of_class"]["a"] == {"p": 0.5}


def test_what_is_said_of_all_classes_is_said_once():
    found = combine({"a": QUIET, "b": QUIET, "c": not_assessed("too few")})
    assert found.is_alarm is False and found.verdict == "at chance (a, b)"
    assert found.summary == "a, b: Nothing. c: Not assessed: too few."


def test_without_a_class_that_can_be_judged_nothing_is():
    found = combine({"a": not_assessed("too few"), "b": not_assessed("all alike")})
    assert found.is_alarm is None and found.reason == "a: too few; b: all alike"


def test_many_classes_get_shuffles_enough_for_a_p_value_under_their_share_of_the_level():
    """Adjusted over four tests, which is what the audits with the most of them adjust over."""
    for num_classes in (1, 3, 11, 40):
        level = LEVEL / num_classes
        assert 4 / (enough_shuffles(level) + 1) < level


CLASSES = ("well", "ill")


def made(
    seed: int = 0,
    patients: int = 200,
    shortcut: float = 0.0,
    label_source: tuple[str, ...] = (),
    severity: tuple[str, ...] = (),
) -> Evidence:
    """Two scans a patient; site `b` goes with `ill`, and the model with the site, as strongly as `shortcut` says.

    The severity `stage` goes with the label alone.
    """
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
    cohort["stage"] = ((number % 4 + 1) * is_ill[number]).astype(str)
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
        covariates=Covariates(
            cohort,
            splits,
            clinical=severity,
            acquisition=("site", "secret") if label_source else ("site",),
            site="site",
            label_source=label_source,
            severity=severity,
        ),
        summaries={"blurred volume": pd.DataFrame(rng.normal(size=(2 * patients, 20)), index=scans["scan_id"])},
        embeddings={TrainingKey(0, 0): {"scan_id": predictions["scan_id"].to_numpy(), **stages}},
        changes=changes,
    )


def table_of(evidence: Evidence) -> pd.DataFrame:
    return shortcut_table(evidence, aggregate_by_patient(evidence.predictions, "mean"))[0]


@pytest.fixture(scope="module")
def clean() -> Audits:
    return audit_run(made(), Settings())


def test_a_clean_experiment_raises_no_alarm(clean):
    found = {name: finding.is_alarm for name, finding in clean.findings.items()}
    expected = dict.fromkeys(("shortcut", "chance", "simple", "label_quality", "stages", "stability"), False)
    assert found == expected | {"label_quality": None}


def test_a_planted_site_shortcut_is_found_used_where_severity_is_stated():
    found = audit_run(made(shortcut=0.8, severity=("stage",)), Settings()).findings
    assert found["shortcut"].verdict == "shortcut used"
    # The stages carry the label, not the site; that the head follows the site is no signal left unused.
    assert {name for name, finding in found.items() if finding.is_alarm} <= {"shortcut", "simple"}


def test_a_planted_site_shortcut_is_found_used_where_simulated_noise_moves_the_logits_too():
    evidence = made(shortcut=0.8)
    assert audit_run(evidence, Settings()).findings["shortcut"].verdict == "cannot be told from case mix"
    noisier = evidence.changes["change"] == "noisier"
    raised = 1 / (1 + (1 / evidence.changes["prob_ill"] - 1) * np.exp(-2.4))
    changes = evidence.changes.assign(prob_ill=np.where(noisier, raised, evidence.changes["prob_ill"]))
    changes["prob_well"] = 1 - changes["prob_ill"]
    changes["prob_ill"] += 1e-6 * np.random.default_rng(0).normal(size=len(changes))
    found = audit_run(replace(evidence, changes=changes), Settings()).findings["shortcut"]
    assert found.verdict == "shortcut used" and "noisier +" in found.summary


def test_the_size_of_files_is_judged_by_regressions_that_never_saw_the_patient():
    evidence = made()
    is_ill = evidence.covariates.splits.set_index("scan_id")["label"] == "ill"
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
    tables, splits = [], evidence.covariates.splits.set_index("scan_id")
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
    told = replace(evidence, predictions=predictions, changes=changes)
    found = audit_stability(told, fit_on_validation(predictions, Settings()), 0.95)
    assert found.metrics["changes"][0]["flipped"] > 0.8


GRADES = ("none", "mild", "severe")


def graded(seed: int = 0, patients: int = 240, follows: float = 0.0, severity: tuple[str, ...] = ()) -> Evidence:
    """Three classes, one scan a patient; one site of two goes with `severe` alone, and the model with the site."""
    rng = np.random.default_rng(seed)
    number = np.arange(patients)
    grade, stage = number % 3, number % 3 + number // 3 % 2
    is_b = np.where(rng.random(patients) < follows, grade == 2, rng.random(patients) < 0.5)
    scans = pd.DataFrame({"scan_id": [f"s{k:03d}" for k in number], "patient_id": [f"p{k:03d}" for k in number]})
    scans["label"] = np.array(GRADES)[grade]
    is_test, fold = number % 2 == 0, number // 2 % 4
    fold_text = np.where(is_test, "", fold.astype(str))
    splits = scans.assign(split=np.where(is_test, "test", "development"), fold=fold_text)
    logits = 1.5 * np.eye(3)[grade] + rng.normal(size=(patients, 3))
    logits[:, 2] += 3 * follows * is_b
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    told = scans.assign(**{f"prob_{name}": probs[:, k] for k, name in enumerate(GRADES)})
    shown = is_test | (fold == 0)
    tested = told[is_test]
    return Evidence(
        predictions=check_predictions(told.assign(fold=0, split=np.where(is_test, "test", "val"))[shown]),
        covariates=Covariates(
            scans.assign(site=np.where(is_b, "b", "a"), stage=stage.astype(str)),
            splits,
            clinical=severity,
            acquisition=("site",),
            severity=severity,
        ),
        summaries={"blurred volume": pd.DataFrame(rng.normal(size=(patients, 20)), index=scans["scan_id"])},
        embeddings={TrainingKey(0, 0): {"scan_id": scans["scan_id"][shown].to_numpy(), "stage1": logits[shown]}},
        changes=pd.concat([tested.assign(change=name) for name in ("none", "noisier")]),
    )


def test_every_audit_assesses_each_of_three_classes_and_labels_are_ranked_alone():
    found = audit_run(graded(), Settings()).findings
    assert [name for name, finding in found.items() if finding.is_alarm is None] == ["label_quality"]
    for audit in ("shortcut", "chance", "simple", "stages"):
        assert set(found[audit].metrics["of_class"]) == set(GRADES)


def test_each_of_three_classes_is_allowed_a_third_of_the_false_alarms():
    """A site effect on one class whose p-value is under the level of one question, and over that of three."""
    found = audit_run(graded(12, follows=0.15, severity=("stage",)), Settings()).findings["shortcut"]
    assert LEVEL / 3 < found.metrics["of_class"]["severe"]["followed"]["adjusted_p_value"] < LEVEL
    assert found.is_alarm is False


def test_a_shortcut_of_one_class_of_three_is_found_used_and_the_class_is_named():
    """`mild` shares the probability that `severe` gains; among the rest of `none`, the site goes with `severe`."""
    found = audit_run(graded(follows=0.8, severity=("stage",)), Settings()).findings["shortcut"]
    assert found.is_alarm and found.verdict == "shortcut used (mild, severe)"
    assert found.metrics["of_class"]["severe"]["available"]["value"] > 0.8


def test_a_class_of_few_patients_is_left_out_with_its_reason():
    evidence = graded()
    severe = evidence.covariates.splits.query("label == 'severe'")["patient_id"]
    kept = ~evidence.covariates.splits["patient_id"].isin(severe[8:])
    covariates = replace(
        evidence.covariates, splits=evidence.covariates.splits[kept], cohort=evidence.covariates.cohort[kept]
    )
    predictions = evidence.predictions[~evidence.predictions["patient_id"].isin(severe[8:])]
    found = audit_run(replace(evidence, covariates=covariates, predictions=predictions), Settings()).findings
    assert set(found["shortcut"].metrics["of_class"]) == {"none", "mild"}
    # Of the eight, five were predicted.
    assert "severe: Not assessed: 5 patients of a class" in found["shortcut"].summary


def several_labels(seed: int = 0, patients: int = 200, follows: float = 0.0) -> Evidence:
    """Two labels that may come together; the site goes with `cyst`, and the model with the site."""
    rng = np.random.default_rng(seed)
    number, present = np.arange(patients), rng.random((patients, 2)) < 0.4
    is_b = np.where(rng.random(patients) < follows, present[:, 0], rng.random(patients) < 0.5)
    scans = pd.DataFrame({"scan_id": [f"s{k:03d}" for k in number], "patient_id": [f"p{k:03d}" for k in number]})
    scans["label"] = [
        ";".join(name for name, here in zip(LABELS, row, strict=True) if here) or "none" for row in present
    ]
    is_test, fold = number % 2 == 0, number // 2 % 4
    splits = scans.assign(split=np.where(is_test, "test", "development"), fold=np.where(is_test, "", fold.astype(str)))
    # Of the label alone little enough is known that the site adds to it.
    logits = 1.5 * (1.5 * present + rng.normal(size=(patients, 2)) - 0.75)
    logits[:, 0] += 3 * follows * is_b
    told = scans.assign(**{f"prob_{name}": 1 / (1 + np.exp(-logits[:, k])) for k, name in enumerate(LABELS)})
    shown = is_test | (fold == 0)
    predictions = told.assign(fold=0, split=np.where(is_test, "test", "val"))[shown]
    return Evidence(
        predictions=check_predictions(predictions, several_labels=True),
        covariates=Covariates(scans.assign(site=np.where(is_b, "b", "a")), splits, acquisition=("site",)),
        summaries={"blurred volume": pd.DataFrame(rng.normal(size=(patients, 20)), index=scans["scan_id"])},
        embeddings={TrainingKey(0, 0): {"scan_id": scans["scan_id"][shown].to_numpy(), "stage1": logits[shown]}},
        changes=pd.concat([told[is_test].assign(change=name) for name in ("none", "noisier")]),
    )


LABELS = ("cyst", "stone")


def test_each_of_several_labels_is_audited_by_itself():
    found = audit_run(several_labels(), Settings(task="multilabel"))
    alarms = {name: finding.is_alarm for name, finding in found.findings.items()}
    assert alarms == dict.fromkeys(found.findings, False) | {"label_quality": None}
    assert found.findings["label_quality"].verdict == "labels ranked (cyst, stone)"
    assert set(found.doubtful_labels["of_label"]) == set(LABELS)
    followed = audit_run(several_labels(follows=0.8), Settings(task="multilabel")).findings["shortcut"]
    assert followed.verdict == "cannot be told from case mix (cyst); none found (stone)"


def test_patients_of_two_labels_have_no_audit_by_patient():
    evidence = made()
    evidence.covariates.splits.loc[0, "label"] = "ill"
    evidence.covariates.splits.loc[1, "label"] = "well"
    assert "different labels" in audit_run(evidence, Settings()).findings["shortcut"].reason


def test_the_files_are_strict_json_with_alarms_as_numbers(clean, tmp_path: Path):
    paths = RunPaths(tmp_path)
    write_audits(clean, paths)
    summary = json.loads(paths.audit_summary.read_text())
    assert summary.pop("label_quality") is None and set(summary.values()) == {0}
    found = json.loads(paths.audits.read_text())
    assert list(found)[0] == "shortcut" and found["chance"]["verdict"] == "at chance"
    ranked = pd.read_csv(paths.doubtful_labels)
    assert len(ranked) == 125 and ranked["lead"].iloc[0] >= ranked["lead"].iloc[1]
