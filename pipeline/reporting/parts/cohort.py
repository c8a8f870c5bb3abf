"""What every page says about the cohort: the flow of scans, who is in which split, and what the leak gate found."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.core.columns import DEVELOPMENT, FOLD, LABEL, LABEL_SEPARATOR, NESTED, NO_LABEL, PATIENT_ID, SPLIT, TEST
from pipeline.core.folds import fold_columns, is_nested
from pipeline.reporting.gathering import CohortFacts
from pipeline.reporting.parts.covariates import Table
from pipeline.reporting.wording import Statement

SIDE_NAMES = {DEVELOPMENT: "development", NESTED: "test in turn", TEST: "locked test set"}


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
            Step(SIDE_NAMES[split], len(rows), rows[PATIENT_ID].nunique(), is_part=True)
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
        "leaks": "Leaks were found in a division that was refused, splits.csv is an earlier one",
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
    """Ingest's order, the positive class last; by the alphabet where that is missing. Last of several labels, none."""
    classes = (facts.ingest or {}).get("classes") or sorted(table[LABEL].unique())
    return [*classes, NO_LABEL] if is_multilabel(facts) and NO_LABEL in set(table[LABEL]) else classes


def is_multilabel(facts: CohortFacts) -> bool:
    return (facts.ingest or {}).get("task") == "multilabel"


def memberships(facts: CohortFacts, rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows, one for each class that a scan of several labels is in."""
    if not is_multilabel(facts):
        return rows
    return rows.assign(**{LABEL: rows[LABEL].str.split(LABEL_SEPARATOR)}).explode(LABEL)


def split_table(facts: CohortFacts) -> Table | None:
    """Patients and scans of each class in test and in each fold."""
    if facts.splits is None:
        return None
    classes, rows = class_order(facts, facts.splits), []
    for part, scans in parts(facts.splits):
        by_class = dict(tuple(memberships(facts, scans).groupby(LABEL)))
        rows.append([part, *(cell(by_class.get(name)) for name in classes)])
    how = (
        "Each part is test in turn, for models that validate on one and train on the rest."
        if is_nested(facts.splits)
        else "Each fold validates one model that is trained on the others of its division."
    )
    return Table(f"Patients (scans) by class. {how}", ["Part", *classes], rows)


def cell(scans: pd.DataFrame | None) -> str:
    return "0" if scans is None else f"{scans[PATIENT_ID].nunique()} ({len(scans)})"


def parts(splits: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The scans of each fold by its number, then those that always train, then the locked test set."""
    folds = {
        int(number): rows for column in fold_columns(splits) for number, rows in splits.groupby(column) if number != ""
    }
    name = "part" if is_nested(splits) else "fold"
    is_test = splits[SPLIT] == TEST
    others = {"always training": splits[~is_test & (splits[FOLD] == "")], SIDE_NAMES[TEST]: splits[is_test]}
    return [
        *((f"{name} {number}", folds[number]) for number in sorted(folds)),
        *((name, rows) for name, rows in others.items() if len(rows)),
    ]
