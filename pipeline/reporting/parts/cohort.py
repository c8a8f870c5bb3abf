"""What every page says about the cohort: the flow of scans, who is in which split, and what the leak gate found."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.artifacts import FOLD, LABEL, PATIENT_ID, SPLIT, TEST
from pipeline.reporting.gathering import CohortFacts, count_classes
from pipeline.reporting.parts.covariates import Table
from pipeline.reporting.wording import Statement


@dataclass(frozen=True)
class Step:
    """One station on the way from files to analysed scans."""

    name: str
    scans: int
    patients: int
    is_loss: bool = False
    is_part: bool = False
    """One of the parts that the last step divides into."""


def flow(facts: CohortFacts) -> list[Step]:
    """Ingest's steps, then the split."""
    steps = [
        Step(entry["step"], entry["scans"], entry["patients"], entry["step"].startswith("excluded"))
        for entry in (facts.ingest or {}).get("flow", [])
    ]
    if steps and facts.splits is not None:
        steps += [
            Step("locked test set" if split == TEST else split, len(rows), rows[PATIENT_ID].nunique(), is_part=True)
            for split, rows in facts.splits.groupby(SPLIT)
        ]
    return steps


def notes(facts: CohortFacts) -> list[str]:
    """Sentences on problems found and leaks looked for."""
    said = []
    if facts.ingest is not None:
        said.append(problem_words(facts.ingest.get("problems", [])))
    if facts.leakage is not None:
        said.append(leak_words(facts.leakage))
    else:
        said.append("Leaks between splits were not looked for, or the record of it is missing.")
    return said


def problem_words(problems: list[dict[str, Any]]) -> str:
    if not problems:
        return "Ingest found nothing to remark on."
    counts = Counter(problem["code"] for problem in problems)
    return "Ingest remarked on: " + ", ".join(f"{code} ({count})" for code, count in counts.most_common()) + "."


def leak_words(leakage: dict[str, Any]) -> str:
    findings = leakage.get("findings", [])
    across = [finding for finding in findings if finding.get("across_splits")]
    verdict = {
        "clean": "No leak between splits was found",
        "accepted": "Leaks between splits were found and accepted",
        "leaks": "Leaks between splits were found",
    }.get(leakage["verdict"], leakage["verdict"])
    return f"{verdict}; {len(across)} of {len(findings)} findings cross splits." if findings else f"{verdict}."


def leak_statements(leakage: dict[str, Any] | None) -> list[Statement]:
    """Each leak across the split, stamped: accepted by name, or still open."""
    across = [entry for entry in (leakage or {}).get("findings", []) if entry["across_splits"]]
    return [
        ("caution", f"Accepted leak {entry['code']}: {entry['message']}.")
        if entry["accepted"]
        else ("bad", f"Open leak {entry['code']}: {entry['message']}.")
        for entry in across
    ]


def class_order(facts: CohortFacts, table: pd.DataFrame) -> list[str]:
    """Ingest's order, the positive class last; by the alphabet where that is missing."""
    return (facts.ingest or {}).get("classes") or sorted(table[LABEL].unique())


def split_table(facts: CohortFacts) -> Table | None:
    """Patients and scans of each class in test and in each fold."""
    if facts.splits is None:
        return None
    splits, classes = facts.splits, class_order(facts, facts.splits)
    named = splits.assign(**{SPLIT: [part_name(*row) for row in splits[[SPLIT, FOLD]].itertuples(index=False)]})
    counts = count_classes(named)
    rows = []
    for part, group in sorted(counts.groupby(SPLIT), key=lambda pair: (pair[0].startswith("locked"), pair[0])):
        by_class = group.set_index(LABEL)
        cells = [
            f"{by_class.loc[name, 'patients']} ({by_class.loc[name, 'scans']})" if name in by_class.index else "0"
            for name in classes
        ]
        rows.append([part, *cells])
    return Table(
        "Patients (scans) by class. Each fold validates one model that is trained on the others.",
        ["Part", *classes],
        rows,
    )


def part_name(split: str, fold: str) -> str:
    if split == TEST:
        return "locked test set"
    return f"fold {int(float(fold))}" if fold != "" else "always training"
