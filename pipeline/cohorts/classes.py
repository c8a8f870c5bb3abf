"""Class names in order: the order of logits, probability columns and confusion matrices."""

import pandas as pd

from pipeline.cohorts.label_table import format_list, is_missing, quote_with_hint
from pipeline.cohorts.values import spelling_problems
from pipeline.config import Cohort
from pipeline.core.columns import LABEL, LABEL_SEPARATOR, NO_LABEL, PATIENT_ID
from pipeline.imaging.problems import Problem


def order_classes(labels: pd.Series, cohort: Cohort) -> tuple[str, ...]:
    """The declared classes, else those found in sorted order; of two, the positive class is last."""
    found = labels[~is_missing(labels)]
    found = set(explode_labels(found) if cohort.task == "multilabel" else found)
    classes = tuple(cohort.classes or sorted(found))
    if len(classes) == 2 and cohort.positive_class in classes:
        return (*(name for name in classes if name != cohort.positive_class), cohort.positive_class)
    return classes


def check_classes(table: pd.DataFrame, cohort: Cohort) -> list[Problem]:
    """Problems of labels and classes: unknown labels, a single or small class, a wrong positive class."""
    if table.empty:
        return [Problem("TAB-EMPTY", "0 rows")]
    classes = order_classes(table[LABEL], cohort)
    if cohort.task == "multilabel":
        table = table.drop(columns=LABEL).join(explode_labels(table[LABEL]), how="inner")
    problems = unknown_labels(table[LABEL], classes) + joined_names(classes)
    problems += spelling_problems(table[LABEL], cohort.classes or ())
    if len(classes) == 1:
        problems.append(Problem("TAB-LABEL-SINGLE", f"'{classes[0]}' alone"))
    elif classes:
        problems += [] if cohort.task == "multilabel" else positive_problems(classes, cohort.positive_class)
        problems += small_classes(table, classes)
    return problems


def explode_labels(labels: pd.Series) -> pd.Series:
    """The classes in labels like `a;b`, one per row with the index of its scan; `none` contains no class."""
    single = labels.str.split(LABEL_SEPARATOR).explode()
    return single[single != NO_LABEL]


def unknown_labels(labels: pd.Series, classes: tuple[str, ...]) -> list[Problem]:
    unknown = sorted(set(labels[~is_missing(labels)]) - set(classes))
    named = [quote_with_hint(label, classes) for label in unknown]
    return [Problem("TAB-LABEL-UNKNOWN", f"{format_list(named)}, expected {', '.join(classes)}")] if unknown else []


def joined_names(classes: tuple[str, ...]) -> list[Problem]:
    names = [f"'{name}'" for name in classes if LABEL_SEPARATOR in name]
    return [Problem("TAB-CLASS-NAME", format_list(names))] if names else []


def positive_problems(classes: tuple[str, ...], positive_class: str | None) -> list[Problem]:
    """Two classes need a positive class, which is never guessed; more than two have none."""
    if len(classes) > 2:
        return [Problem("TAB-POSITIVE", f"'{positive_class}' for {len(classes)} classes")] if positive_class else []
    if positive_class in classes:
        return []
    found = quote_with_hint(positive_class, classes) if positive_class else "none"
    return [Problem("TAB-POSITIVE", f"{found}, expected '{classes[0]}' or '{classes[1]}'")]


def small_classes(table: pd.DataFrame, classes: tuple[str, ...]) -> list[Problem]:
    patients = table.groupby(LABEL)[PATIENT_ID].nunique()
    counts = {name: int(patients.get(name, 0)) for name in classes}
    return [
        Problem("TAB-CLASS-SMALL", f"{count} patient{'' if count == 1 else 's'} with '{name}'")
        for name, count in counts.items()
        if count < 2
    ]
