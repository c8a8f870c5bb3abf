"""All audits of one experiment, and the files that hold what they found."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd

from pipeline.artifacts import RunPaths
from pipeline.columns import PATIENT_ID
from pipeline.evaluation.audits.chance import judge_chance
from pipeline.evaluation.audits.evidence import (
    Evidence,
    fold_embeddings,
    frozen_embeddings,
    patient_summaries,
    shortcut_table,
    simple_features,
)
from pipeline.evaluation.audits.finding import Finding, not_judged
from pipeline.evaluation.audits.label_quality import COLUMNS, judge_labels, rank_labels
from pipeline.evaluation.audits.shortcut import judge_shortcut
from pipeline.evaluation.audits.simple import image_floors, judge_simple, signal_p_values
from pipeline.evaluation.audits.stability import judge_stability
from pipeline.evaluation.audits.stages import judge_stages
from pipeline.evaluation.evaluating import Judged, headline_of, judge_units
from pipeline.evaluation.fitted.frozen import Frozen, freeze
from pipeline.evaluation.fitted.pooling import PATIENT, SCAN, are_fitted, on_pooled_scale, units_by_level
from pipeline.evaluation.floors import column_floors
from pipeline.evaluation.settings import MULTILABEL, Settings
from pipeline.evaluation.tables.predictions import patients_of_two_labels, prob_columns
from pipeline.files import write_csv, write_json

OF_PATIENTS = ("shortcut", "chance", "simple", "stages")
ORDER = ("shortcut", "chance", "simple", "label_quality", "stages", "stability")


@dataclass(frozen=True)
class Audits:
    """What was found, and the labels to look at first."""

    findings: dict[str, Finding]
    doubtful_labels: pd.DataFrame


def audit_run(evidence: Evidence, settings: Settings) -> Audits:
    """Audit the headline of one experiment."""
    if settings.task == MULTILABEL:
        return Audits(undefined(ORDER, "audits are for one label a scan"), pd.DataFrame(columns=COLUMNS))
    units = units_by_level(evidence.held_out, settings.patient_rule)
    frozen = {level: freeze(rows, settings) for level, rows in units.items()}
    judged = judge_units(units, frozen)
    split, level = headline_of(judged)
    of_labels = PATIENT if set(judged[PATIENT]) == set(judged[SCAN]) else SCAN
    parts = judged[of_labels].values()
    stated = pd.concat([part.rows for part in parts], ignore_index=True)
    meant = pd.concat([as_meant(part) for part in parts], ignore_index=True)
    findings = audit_patients(evidence, judged[level][split], stated, settings) | {
        "label_quality": judge_labels(meant, settings, is_calibrated=are_fitted(frozen[of_labels].calibrations)),
        "stability": audit_stability(evidence, frozen[SCAN], settings.confidence),
    }
    return Audits({name: findings[name] for name in ORDER}, rank_labels(meant))


def as_meant(judged: Judged) -> pd.DataFrame:
    """The rows with the probabilities that come nearest to what happens: calibrated where they can be."""
    if judged.corrected is None:
        return judged.rows
    return judged.rows.assign(**dict(zip(prob_columns(judged.rows), judged.corrected.probs.T, strict=True)))


def audit_stability(evidence: Evidence, frozen: Frozen, confidence: float) -> Finding:
    """The changes as one network answers them, at the threshold frozen for all of them together."""
    changes = on_pooled_scale(evidence.changes, f"fold-{evidence.changes_fold}", frozen.calibrations)
    return judge_stability(changes, frozen.point.threshold, confidence)


def audit_patients(evidence: Evidence, shown: Judged, patients: pd.DataFrame, settings: Settings) -> dict[str, Finding]:
    """The audits that need two classes and one label a patient; `patients` has a row each of those not trained on."""
    if not shown.sample.is_binary:
        return undefined(OF_PATIENTS, "this audit is for two classes")
    if patients_of_two_labels(evidence.background.splits):
        return undefined(OF_PATIENTS, "patients have scans of different labels")
    confidence, seed = settings.confidence, settings.seed
    asked, splits = shown.rows[PATIENT_ID], evidence.background.splits
    floors = column_floors(shown.sample, shown.rows, evidence.background, confidence)
    floors += image_floors(shown.sample, asked, splits, patient_summaries(evidence), confidence)
    working = signal_p_values(simple_features(evidence), splits, evidence.positive, asked, seed)
    division, embeddings = frozen_embeddings(evidence)
    return {
        "shortcut": judge_shortcut(*shortcut_table(evidence, patients, seed=seed), seed=seed),
        "chance": judge_chance(division, embeddings, evidence.positive, seed=seed),
        "simple": judge_simple(floors, working),
        "stages": judge_stages(shown.sample, asked.tolist(), fold_embeddings(evidence), confidence, seed),
    }


def undefined(names: Sequence[str], reason: str) -> dict[str, Finding]:
    return {name: not_judged(reason) for name in names}


def write_audits(audits: Audits, paths: RunPaths) -> None:
    """audits.json, the alarms alone, and the ranked labels; each whole or not at all."""
    found = {name: asdict(finding) for name, finding in audits.findings.items()}
    alarms = {name: finding.is_alarm for name, finding in audits.findings.items()}
    write_json(paths.audits, found)
    # DVC shows numbers: 1 is an alarm, 0 none, and nothing what could not be judged.
    write_json(paths.audit_summary, {name: None if alarm is None else int(alarm) for name, alarm in alarms.items()})
    write_csv(paths.doubtful_labels, audits.doubtful_labels)
