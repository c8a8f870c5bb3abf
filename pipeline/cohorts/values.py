"""Values of the label table: decimal signs of numbers, spellings of classes, and columns that tell the label."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from math import factorial, inf, lgamma, log

import pandas as pd

from pipeline.cohorts.label_table import format_list, is_missing, quote_with_hint
from pipeline.config import Cohort, Columns
from pipeline.core.columns import LABEL, LABEL_SEPARATOR, NO_LABEL, PATIENT_ID
from pipeline.imaging.problems import Problem

DECIMAL_SIGNS = {".": ",", ",": "."}
"""Each decimal sign with the sign of thousands that goes with it."""
NUMBERS = {
    sign: re.compile(rf"[+-]?(\d+|[1-9]\d{{0,2}}({re.escape(other)}\d{{3}})+)({re.escape(sign)}\d*)?([eE][+-]?\d+)?")
    for sign, other in DECIMAL_SIGNS.items()
}
GROUPED = re.compile(r"(?<=\d)[ '’\u00a0\u2009\u202f](?=\d{3}(?!\d))")
"""Signs of thousands that leave no doubt."""
WHOLE_NUMBER = re.compile(r"\+?(-?)0*(\d+)(?:\.0*)?")
LARGEST_CHANCE = 1e-3
"""A column that tells every label, and would by chance at most this often, is pointed out."""


def plain_numbers(labels: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, list[Problem]]:
    """The table with decimal points in the columns of numbers, and a problem for each whose sign is in doubt."""
    names = [*columns.clinical, *columns.acquisition, *(columns.crop_center_mm or ())]
    converted, problems = {}, []
    for name in (name for name in names if name in labels):
        cells = labels[name].str.strip()
        column = cells.map(lambda cell: GROUPED.sub("", cell))
        filled = column[~is_missing(column)]
        if infinite := infinite_cells(filled):
            problems.append(Problem("TAB-INFINITE", f"{infinite[0]} in column '{name}'"))
        readings = {sign: to_points(filled, sign) for sign in DECIMAL_SIGNS if is_numeric(filled, sign)}
        sign = columns.decimal if columns.decimal in readings else decimal_sign(readings, filled)
        if sign in readings:
            converted[name] = labels[name].mask(column.isin(filled), to_points(column, sign))
        elif readings:
            problems.append(Problem("TAB-DECIMAL", doubt(name, filled, readings)))
        elif all(any(pattern.fullmatch(cell) for pattern in NUMBERS.values()) for cell in filled):
            problems.append(Problem("TAB-DECIMAL", f"both signs in column '{name}'"))
    return labels.assign(**converted), problems


def infinite_cells(cells: pd.Series) -> list[str]:
    """Cells such as `inf` and `1e999` among numbers; in a column of words they are words."""
    numbers = pd.to_numeric(cells, errors="coerce")
    return cells[numbers.abs() == inf].tolist() if numbers.notna().all() else []


def is_numeric(cells: pd.Series, sign: str) -> bool:
    return all(NUMBERS[sign].fullmatch(cell) for cell in cells)


def to_points(cells: pd.Series, sign: str) -> pd.Series:
    """Numbers without signs of thousands, and with a decimal point."""
    return cells.str.replace(DECIMAL_SIGNS[sign], "", regex=False).str.replace(sign, ".", regex=False)


def decimal_sign(readings: Mapping[str, pd.Series], cells: pd.Series) -> str | None:
    """The sign that the numbers leave, None in doubt: a point is a decimal point unless another number denies it."""
    if len(readings) == 1:
        return next(iter(readings))
    return "." if readings and not cells.str.contains(",").any() else None


def doubt(name: str, cells: pd.Series, readings: Mapping[str, pd.Series]) -> str:
    row = cells.index[readings["."] != readings[","]][0]
    return f"{cells[row]} in column '{name}', which may be {readings[','][row]} or {readings['.'][row]}"


# --- classes ----------------------------------------------------------------------------------------------------------


def class_key(label: str) -> str:
    """A label without what people write in different ways: case, space, width, Unicode form, `1.0` or `01` for 1."""
    text = unicodedata.normalize("NFKC", label)
    visible = "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf")
    number = WHOLE_NUMBER.fullmatch(visible)
    return unicodedata.normalize("NFC", number[1] + number[2] if number else visible).casefold()


def alike_classes(names: Iterable[str]) -> list[list[str]]:
    """Lists of class names that differ in spelling alone."""
    found: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        found.setdefault(class_key(name), []).append(name)
    return [alike for alike in found.values() if len(alike) > 1]


def spelling_problems(labels: pd.Series, declared: Iterable[str]) -> list[Problem]:
    """One problem per class in several spellings, with how many scans have each; declared ones were decided."""
    counts = labels.value_counts()
    alike = alike_classes(set(labels) - set(declared))
    found = [" and ".join(f"{visible(name)} ({counts[name]} scans)" for name in names) for names in alike]
    return [Problem("TAB-LABEL-SPELLING", text) for text in found]


def visible(name: str) -> str:
    """The name in quotes, with escapes for what looks like another name."""
    return repr(name) if name == unicodedata.normalize("NFKC", name) else ascii(name)


def map_classes(labels: pd.Series, spellings: Mapping[str, tuple[str, ...]]) -> pd.Series:
    """Labels with each declared spelling replaced by its class; of several, joined by `;`, each."""
    normal = {
        unicodedata.normalize("NFC", word): name for name, others in spellings.items() for word in (name, *others)
    }
    exact = {word: name for name, others in spellings.items() for word in (name, *others)}

    def one(word: str) -> str:
        return exact.get(word) or normal.get(unicodedata.normalize("NFC", word), word)

    return labels.map(
        lambda label: one(label) if label in exact else LABEL_SEPARATOR.join(map(one, label.split(LABEL_SEPARATOR)))
    )


# --- columns that tell the label --------------------------------------------------------------------------------------


def telling_columns(table: pd.DataFrame, columns: Columns) -> list[str]:
    """The columns whose value tells the class of every row, such as the volume whose median made the label.

    Those that could by chance, and those that the cohort says the label was made from, are left out.
    """
    files = (columns.path, *columns.channels, columns.crop_mask)
    roles = {columns.scan_id, columns.label, columns.split, *files, *columns.label_source}
    roles |= {columns.patient_id, *columns.group}
    return [name for name in table.columns if name not in roles and tells_label(table, name, columns)]


def tells_label(table: pd.DataFrame, name: str, columns: Columns) -> bool:
    rows = table[~is_missing(table[name]) & ~is_missing(table[columns.label])]
    labels, values = rows[columns.label], rows[name]
    of_patients = labels[~rows[columns.patient_id].duplicated()].value_counts()
    if len(of_patients) < 2 or labels.nunique() != len(of_patients):
        return False
    numbers = pd.to_numeric(values, errors="coerce")
    if (labels.groupby(values).nunique() > 1).any():
        return False
    arrangements = values.nunique() * log(len(of_patients))
    if numbers.notna().all():
        ordered = labels[numbers.sort_values(kind="stable").index]
        if (ordered != ordered.shift()).sum() == len(of_patients):
            arrangements = min(arrangements, log(factorial(len(of_patients))))
    orders = lgamma(of_patients.sum() + 1) - sum(lgamma(count + 1) for count in of_patients)
    return arrangements - orders < log(LARGEST_CHANCE)


def telling_problems(table: pd.DataFrame, columns: Columns) -> list[Problem]:
    return [Problem("TAB-TELLS-LABEL", f"'{name}'") for name in telling_columns(table, columns)]


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
