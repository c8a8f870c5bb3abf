"""What a page says about the cohort: the flow of scans, who is in which split, and how covariates are spread."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.artifacts import FOLD, LABEL, PATIENT_ID, SPLIT, TEST
from pipeline.config import Columns
from pipeline.reporting.gathering import CohortFacts, count_classes

MOST_CATEGORIES = 6


@dataclass(frozen=True)
class Step:
    """One station on the way from files to analysed scans."""

    name: str
    scans: int
    patients: int
    is_loss: bool = False
    is_part: bool = False
    """One of the parts that the last step divides into."""


@dataclass(frozen=True)
class Table:
    caption: str
    columns: list[str]
    rows: list[list[str]]


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


def tables(facts: CohortFacts, columns: Columns) -> list[Table]:
    """Splits by class, then covariates by class."""
    made = []
    if facts.splits is not None:
        made.append(split_table(facts.splits, class_order(facts, facts.splits)))
    if facts.table is not None:
        made += covariate_tables(facts.table, columns, class_order(facts, facts.table))
    return made


def class_order(facts: CohortFacts, table: pd.DataFrame) -> list[str]:
    """Ingest's order, the positive class last; by the alphabet where that is missing."""
    return (facts.ingest or {}).get("classes") or sorted(table[LABEL].unique())


def split_table(splits: pd.DataFrame, classes: list[str]) -> Table:
    """Patients and scans of each class in test and in each fold."""
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


def covariate_tables(table: pd.DataFrame, columns: Columns, classes: list[str]) -> list[Table]:
    """One table of all declared covariates, a column a class, counted by patient."""
    known = [name for name in columns.covariates if name in table]
    if not known:
        return []
    patients = table.drop_duplicates(PATIENT_ID)
    rows = [row for name in known for row in covariate_rows(patients, name, classes)]
    sizes = [f"{name} (n = {(patients[LABEL] == name).sum()})" for name in classes]
    caption = "Covariates by class, one row a patient (the first scan's): median and quartiles, or share."
    return [Table(caption, ["Covariate", *sizes], rows)]


def covariate_rows(patients: pd.DataFrame, name: str, classes: list[str]) -> list[list[str]]:
    numbers = pd.to_numeric(patients[name], errors="coerce")
    if numbers.notna().sum() > 0.9 * len(patients) and numbers.nunique() > MOST_CATEGORIES:
        return [[name, *(quartiles(numbers[patients[LABEL] == label]) for label in classes)]]
    common = patients[name].value_counts().index[:MOST_CATEGORIES]
    return [
        [
            f"{name}: {value or 'not given'}",
            *(f"{(patients.loc[patients[LABEL] == label, name] == value).mean():.0%}" for label in classes),
        ]
        for value in common
    ]


def quartiles(numbers: pd.Series) -> str:
    low, middle, high = numbers.quantile([0.25, 0.5, 0.75])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"
