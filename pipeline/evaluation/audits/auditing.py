"""All audits of one experiment, and the files that hold what they found."""

from dataclasses import asdict, dataclass

import pandas as pd

from pipeline.artifacts import PATIENT_ID, VAL, RunPaths
from pipeline.evaluation.audits.chance import judge_chance
from pipeline.evaluation.audits.evidence import (
    Evidence,
    fold_embeddings,
    frozen_embeddings,
    patient_summaries,
    shortcut_table,
)
from pipeline.evaluation.audits.finding import Finding, not_judged
from pipeline.evaluation.audits.label_quality import judge_labels, rank_labels
from pipeline.evaluation.audits.shortcut import judge_shortcut
from pipeline.evaluation.audits.simple import image_floors, judge_simple
from pipeline.evaluation.audits.stability import judge_stability
from pipeline.evaluation.audits.stages import judge_stages
from pipeline.evaluation.evaluating import PATIENT, SCAN, headline_of, rows_of, samples_of
from pipeline.evaluation.floors import column_floors
from pipeline.evaluation.operating_point import choose_operating_point
from pipeline.evaluation.predictions import average_folds, by_patient, patients_of_two_labels
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.settings import Settings
from pipeline.files import write_csv, write_json


@dataclass(frozen=True)
class Audits:
    """What was found, and the labels to look at first."""

    split: str
    """Whose figures the audits look behind."""
    findings: dict[str, Finding]
    doubtful_labels: pd.DataFrame


def audit_run(evidence: Evidence, settings: Settings) -> Audits:
    """Audit the headline of one experiment."""
    scans = average_folds(evidence.held_out)
    samples = samples_of(scans, settings.patient_rule)
    split, level = headline_of(samples)
    labelled = scans if patients_of_two_labels(scans) else by_patient(scans, settings.patient_rule)
    threshold = choose_operating_point(samples[SCAN].get(VAL), settings, samples[SCAN][split].num_classes).threshold
    findings = {
        **audit_patients(evidence, samples[level][split], scans, split, settings),
        "label_quality": judge_labels(labelled, seed=settings.seed),
        "stability": judge_stability(evidence.changes, threshold, settings.confidence),
    }
    return Audits(split, {name: findings[name] for name in ORDER}, rank_labels(labelled))


ORDER = ("shortcut", "chance", "simple", "label_quality", "stages", "stability")
OF_PATIENTS = ("shortcut", "chance", "simple", "stages")


def audit_patients(
    evidence: Evidence, sample: Sample, scans: pd.DataFrame, split: str, settings: Settings
) -> dict[str, Finding]:
    """The audits that need two classes and one label a patient."""
    if not sample.is_binary:
        return {name: not_judged("this audit is for two classes") for name in OF_PATIENTS}
    if patients_of_two_labels(evidence.background.splits):
        return {name: not_judged("patients have scans of different labels") for name in OF_PATIENTS}
    confidence, seed = settings.confidence, settings.seed
    rows = rows_of(scans, split, PATIENT, settings.patient_rule)
    patients, splits = rows[PATIENT_ID], evidence.background.splits
    floors = column_floors(sample, rows, evidence.background, confidence)
    floors += image_floors(sample, patients, splits, patient_summaries(evidence), confidence)
    division, embeddings = frozen_embeddings(evidence)
    return {
        "shortcut": judge_shortcut(shortcut_table(evidence, settings.patient_rule), seed=seed),
        "chance": judge_chance(division, embeddings, evidence.positive, seed=seed),
        "simple": judge_simple(floors, confidence),
        "stages": judge_stages(sample, patients.tolist(), fold_embeddings(evidence), confidence, seed),
    }


def write_audits(audits: Audits, paths: RunPaths) -> None:
    """audits.json, the alarms alone, and the ranked labels; each whole or not at all."""
    found = {name: asdict(finding) for name, finding in audits.findings.items()}
    alarms = {name: finding.is_alarm for name, finding in audits.findings.items()}
    write_json(paths.audits, {"split": audits.split, "audits": found})
    # DVC shows numbers: 1 is an alarm, 0 none, and nothing what could not be judged.
    write_json(paths.audit_summary, {name: None if alarm is None else int(alarm) for name, alarm in alarms.items()})
    write_csv(paths.doubtful_labels, audits.doubtful_labels)
