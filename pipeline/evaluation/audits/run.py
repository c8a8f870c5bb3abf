"""Audits of more than two answers: a question for each class or label, this one or not, and one verdict on all.

Each question is allowed its share of the audit's false alarms, so that all of them together raise no more than one.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd

from pipeline.core.columns import FOLD, PATIENT_ID
from pipeline.core.io import write_csv, write_json
from pipeline.core.paths import RunPaths
from pipeline.evaluation.audits.evidence import (
    Evidence,
    fold_embeddings,
    frozen_embeddings,
    patient_classes,
    patient_summaries,
    shortcut_table,
    simple_features,
)
from pipeline.evaluation.audits.finding import LEVEL, NOT_ASSESSED, AuditFinding, not_assessed
from pipeline.evaluation.audits.label_permutation import audit_label_permutation
from pipeline.evaluation.audits.label_quality import LEAD, SUSPECT, audit_label_quality, rank_labels
from pipeline.evaluation.audits.layer_probes import audit_layer_probes
from pipeline.evaluation.audits.null_models import enough_shuffles
from pipeline.evaluation.audits.shortcut import audit_shortcut
from pipeline.evaluation.audits.simple_baselines import audit_simple_baselines, image_baselines, signal_p_values
from pipeline.evaluation.audits.stability import audit_stability_of_changes
from pipeline.evaluation.baselines import covariate_baselines
from pipeline.evaluation.cv_design import cv_parts
from pipeline.evaluation.decision_rule import FittedOnValidation, fit_on_validation
from pipeline.evaluation.ensembling import PATIENT, SCAN, on_ensemble_scale, units_by_level
from pipeline.evaluation.evaluate import LevelResult, headline_of, level_results
from pipeline.evaluation.one_vs_rest import covariates_of_class, joined, one_vs_rest_table
from pipeline.evaluation.predictions import class_names, num_patients_with_mixed_labels, prob_columns
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import BINARY, MULTILABEL, Settings

OF_CLASS = "of_class"
"""Key of the metrics by class."""


def restrict_to_class(evidence: Evidence, name: str) -> Evidence:
    """The same evidence with two answers: this class or label, which is the positive one, and any other."""
    covariates = covariates_of_class(evidence.covariates, name)
    assert covariates is not None
    return replace(
        evidence,
        predictions=one_vs_rest_table(evidence.predictions, name),
        covariates=covariates,
        changes=one_vs_rest_table(evidence.changes, name),
        # Within the rest, an acquisition may go with one of its classes, and the answer with that.
        classes=patient_classes(evidence),
    )


def combine(findings: Mapping[str, AuditFinding]) -> AuditFinding:
    """One finding: an alarm where any class raises one; the classes that could not be assessed are named beside it."""
    assessed = {name: finding for name, finding in findings.items() if finding.verdict != NOT_ASSESSED}
    metrics = {OF_CLASS: {name: finding.metrics for name, finding in assessed.items()}}
    if not assessed:
        return not_assessed("; ".join(f"{name}: {finding.reason}" for name, finding in findings.items()))
    alarms = {name: finding for name, finding in assessed.items() if finding.is_alarm}
    reported = alarms or assessed
    left_out = {name: finding for name, finding in findings.items() if name not in assessed}
    return AuditFinding(
        verdict="; ".join(f"{text} ({names})" for text, names in grouped(reported, "verdict").items()),
        is_alarm=None if all(finding.is_alarm is None for finding in assessed.values()) else bool(alarms),
        summary=" ".join(f"{names}: {text}" for text, names in grouped(reported | left_out, "summary").items()),
        metrics=metrics,
    )


def grouped(findings: Mapping[str, AuditFinding], field: str) -> dict[str, str]:
    """Each text once, with the names of the classes it is about."""
    texts: dict[str, list[str]] = {}
    for name, finding in findings.items():
        texts.setdefault(getattr(finding, field), []).append(name)
    return {text: ", ".join(names) for text, names in texts.items()}


log = logging.getLogger(__name__)
OF_PATIENTS = ("shortcut", "chance", "simple", "stages")
ORDER = ("shortcut", "chance", "simple", "label_quality", "stages", "stability")


@dataclass(frozen=True)
class Audits:
    """What was found, and the labels to look at first."""

    findings: dict[str, AuditFinding]
    doubtful_labels: pd.DataFrame


def audit_run(evidence: Evidence, settings: Settings) -> Audits:
    """Audit the headline of one experiment; with several labels a scan, each label by itself."""
    evidence = one_division(evidence)
    if settings.task != MULTILABEL:
        return audit_one(evidence, settings, LEVEL)
    names = class_names(evidence.predictions)
    labels = {
        name: audit_one(restrict_to_class(evidence, name), replace(settings, task=BINARY), LEVEL / len(names))
        for name in names
    }
    doubtful = joined({name: audits.doubtful_labels for name, audits in labels.items()})
    assert doubtful is not None
    return Audits(
        {audit: combine({name: audits.findings[audit] for name, audits in labels.items()}) for audit in ORDER},
        doubtful.sort_values([SUSPECT, LEAD], ascending=False, kind="stable", ignore_index=True),
    )


def one_division(evidence: Evidence) -> Evidence:
    """Of a nested or repeated division the outer part or repeat whose network answered the changes."""
    parts = cv_parts(evidence.predictions, "predictions")
    asked = evidence.changes_key.fold
    rows = next(rows for rows in parts.values() if (rows[FOLD] == asked).any())
    if len(parts) > 1:
        log.warning("audits look at one outer part or repeat, that of fold %d: %d are trained", asked, len(parts))
    known = {key: arrays for key, arrays in evidence.embeddings.items() if (rows[FOLD] == key.fold).any()}
    return replace(evidence, predictions=rows, embeddings=known)


def audit_one(evidence: Evidence, settings: Settings, level: float) -> Audits:
    """Audit the headline of an experiment with one label a scan."""
    units = units_by_level(evidence.held_out, settings.patient_rule)
    fitted = {name: fit_on_validation(rows, settings) for name, rows in units.items()}
    results = level_results(units, fitted)
    split, shown_level = headline_of(results)
    of_labels = PATIENT if set(results[PATIENT]) == set(results[SCAN]) else SCAN
    parts = results[of_labels].values()
    stated = pd.concat([part.rows for part in parts], ignore_index=True)
    meant = pd.concat([as_meant(part) for part in parts], ignore_index=True)
    findings = audit_patients(evidence, results[shown_level][split], stated, settings, level) | {
        "label_quality": audit_label_quality(meant),
        "stability": audit_stability(evidence, fitted[SCAN], settings.confidence, level),
    }
    return Audits({name: findings[name] for name in ORDER}, rank_labels(meant))


def as_meant(result: LevelResult) -> pd.DataFrame:
    """The rows with the probabilities that come nearest to what happens: calibrated where they can be."""
    if result.calibrated is None:
        return result.rows
    return result.rows.assign(**dict(zip(prob_columns(result.rows), result.calibrated.probs.T, strict=True)))


def audit_stability(
    evidence: Evidence, fitted: FittedOnValidation, confidence: float, level: float = LEVEL
) -> AuditFinding:
    """The changes as one network answers them, at the threshold frozen for all of them together."""
    changes = on_ensemble_scale(evidence.changes, evidence.changes_key.name, fitted.calibrations)
    return audit_stability_of_changes(changes, fitted.point.threshold, confidence, level=level)


def audit_patients(
    evidence: Evidence, shown: LevelResult, patients: pd.DataFrame, settings: Settings, level: float
) -> dict[str, AuditFinding]:
    """The audits that need one label a patient; `patients` has a row each of those not trained on."""
    if num_patients_with_mixed_labels(evidence.covariates.splits):
        return undefined(OF_PATIENTS, "patients have scans of different labels")
    if shown.sample.is_binary:
        return audit_question(evidence, shown.sample, shown.rows, patients, settings, level)
    classes = {}
    for name in shown.sample.class_names:
        rows = one_vs_rest_table(shown.rows, name)
        of_class = restrict_to_class(evidence, name), sample_of(rows), rows, one_vs_rest_table(patients, name)
        classes[name] = audit_question(*of_class, settings, level / len(shown.sample.class_names))
    return {audit: combine({name: found[audit] for name, found in classes.items()}) for audit in OF_PATIENTS}


def audit_question(
    evidence: Evidence, sample: Sample, rows: pd.DataFrame, patients: pd.DataFrame, settings: Settings, level: float
) -> dict[str, AuditFinding]:
    """The same of two answers; `rows` are those of the sample."""
    confidence, seed, num_shuffles = settings.confidence, settings.seed, enough_shuffles(level)
    asked, splits, positive = rows[PATIENT_ID], evidence.covariates.splits, evidence.positive
    baselines = covariate_baselines(sample, rows, evidence.covariates, confidence)
    baselines += image_baselines(sample, asked, splits, patient_summaries(evidence), confidence)
    working = signal_p_values(simple_features(evidence), splits, positive, asked, seed, num_shuffles)
    division, embeddings = frozen_embeddings(evidence)
    shortcut = shortcut_table(evidence, patients, num_shuffles, seed)
    networks = fold_embeddings(evidence)
    return {
        "shortcut": audit_shortcut(*shortcut, num_shuffles, seed, level=level),
        "chance": audit_label_permutation(division, embeddings, positive, seed=seed, level=level),
        "simple": audit_simple_baselines(baselines, working, level=level),
        "stages": audit_layer_probes(sample, asked.tolist(), networks, confidence, seed, level=level),
    }


def undefined(names: Sequence[str], reason: str) -> dict[str, AuditFinding]:
    return {name: not_assessed(reason) for name in names}


def write_audits(audits: Audits, paths: RunPaths) -> None:
    """audits.json, the alarms alone, and the ranked labels; each whole or not at all."""
    found = {name: asdict(finding) for name, finding in audits.findings.items()}
    alarms = {name: finding.is_alarm for name, finding in audits.findings.items()}
    write_json(paths.audits, found)
    # DVC shows numbers: 1 is an alarm, 0 none, and nothing what could not be judged.
    write_json(paths.audit_summary, {name: None if alarm is None else int(alarm) for name, alarm in alarms.items()})
    write_csv(paths.doubtful_labels, audits.doubtful_labels)
