"""Audits of more than two answers: a question for each class or label, this one or not, and one verdict on all.

Each question is allowed its share of the audit's false alarms, so that all of them together raise no more than one.
"""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.evaluation.audits.evidence import Evidence
from pipeline.evaluation.audits.finding import Finding, not_judged
from pipeline.evaluation.one_vs_rest import about_class, one_class

OF_CLASS = "of_class"
"""Key of the figures by class."""


def about(evidence: Evidence, name: str) -> Evidence:
    """The same evidence with two answers: this class or label, which is the positive one, and any other."""
    background = about_class(evidence.background, name)
    assert background is not None
    return replace(
        evidence,
        predictions=one_class(evidence.predictions, name),
        background=background,
        changes=one_class(evidence.changes, name),
    )


def combine(findings: Mapping[str, Finding]) -> Finding:
    """One finding: an alarm where any class raises one; the classes that could not be judged are named beside it."""
    judged = {name: finding for name, finding in findings.items() if finding.is_alarm is not None}
    figures = {OF_CLASS: {name: finding.figures for name, finding in judged.items()}}
    if not judged:
        return not_judged("; ".join(f"{name}: {finding.reason}" for name, finding in findings.items()))
    alarms = {name: finding for name, finding in judged.items() if finding.is_alarm}
    said = alarms or judged
    left_out = {name: finding for name, finding in findings.items() if name not in judged}
    return Finding(
        verdict="; ".join(f"{text} ({names})" for text, names in grouped(said, "verdict").items()),
        is_alarm=bool(alarms),
        words=" ".join(f"{names}: {text}" for text, names in grouped(said | left_out, "words").items()),
        figures=figures,
    )


def grouped(findings: Mapping[str, Finding], field: str) -> dict[str, str]:
    """Each text once, with the names of the classes it is about."""
    texts: dict[str, list[str]] = {}
    for name, finding in findings.items():
        texts.setdefault(getattr(finding, field), []).append(name)
    return {text: ", ".join(names) for text, names in texts.items()}
