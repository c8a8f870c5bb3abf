"""Draft a cohort config from a table and its scans: guess column roles and modality, never what must not be guessed."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.cohorts.label_table import is_missing
from pipeline.cohorts.sources.kinds import FolderSource
from pipeline.cohorts.values import class_key
from pipeline.config import Cohort, Columns
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.errors import did_you_mean
from pipeline.core.tables import read_table
from pipeline.imaging.io.read import read_scan

COLUMN_NAMES = {
    SCAN_ID: ("scanid", "scan", "imageid", "image", "seriesid", "series", "sessionid", "caseid", "case", "id"),
    PATIENT_ID: ("patientid", "patient", "subjectid", "subject", "participantid", "participant", "pid", "person"),
    PATH: ("path", "file", "filename", "filepath", "nifti", "location"),
    LABEL: ("label", "class", "diagnosis", "target", "outcome", "group", "y"),
    "site": ("site", "center", "centre", "hospital", "institution"),
}
"""Usual names of the column of each role, as `normalize_name` gives them, the most specific first."""
CLINICAL = ("age", "sex", "gender", "weight", "height", "bmi")
ACQUISITION = ("scanner", "manufacturer", "model", "protocol", "fieldstrength", "sequence")
REQUIRED = (SCAN_ID, PATIENT_ID, PATH, LABEL)
MODALITIES = ("CT", "MR", "PET", "mask", "other")
LATERALITIES = ("relevant", "irrelevant")
MAX_CLASSES = 50
MAX_SCANS_READ = 5
AIR_HU = -900
"""Voxels below this are air in CT; other modalities have no such values."""
MASK_VALUES = ((0, 1), (0, 255))
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")

Ask = Callable[[str, tuple[str, ...]], str]
"""Asks the user a question with its possible answers."""


@dataclass(frozen=True)
class Answers:
    """What a table does not contain and must not be guessed; None for what was not given."""

    positive_class: str | None = None
    modality: str | None = None
    laterality: str | None = None


def draft_cohort(
    scans: Path, table_path: Path, name: str | None, given: dict[str, str], answers: Answers, ask: Ask | None
) -> Cohort:
    """The cohort of these scans and labels; `ask` is None if no user can answer.

    A modality that the voxels determine is not asked for. Raises `ValueError` for a table without the required
    columns, and one that lists every missing answer.
    """
    if not scans.is_dir():
        raise FileNotFoundError(f"{scans} is not a folder; give the folder of scans, then the table of labels.")
    table = read_table(table_path, "give the table of labels")
    if table.empty:
        raise ValueError(f"{table_path}: no rows, expected one per scan; was the file cut off?")
    columns = guess_columns(table, scans, given)
    if answers.modality is None:
        answers = replace(answers, modality=guess_modality(scans / path for path in table[columns.path]))
    classes = find_classes(table, columns, table_path)
    has_variants = any(others for others in classes.values())
    return Cohort(
        name=check_name(name or NOT_IN_NAMES.sub("_", scans.resolve().name).lstrip("_.-")),
        source=FolderSource(kind="folder", scans=str(scans.resolve()), table=str(table_path.resolve())),
        columns=columns,
        classes=classes if has_variants else None,
        **complete_answers(answers, tuple(classes), ask),
    )


def check_name(name: str) -> str:
    """The name, if it is valid for a file and a folder."""
    if not name or NOT_IN_NAMES.search(name) or not name[0].isalnum():
        raise ValueError(f"--name: got '{name}', expected letters, digits, _, . and -, the first a letter or digit.")
    return name


def find_classes(table: pd.DataFrame, columns: Columns, path: Path) -> dict[str, tuple[str, ...]]:
    """Values of the label column, sorted, each with its rarer spellings."""
    labels = table[columns.label].str.strip()
    spellings: dict[str, list[str]] = {}
    for label in labels[~is_missing(labels)].value_counts().index:
        spellings.setdefault(class_key(label), []).append(label)
    classes = {name: tuple(others) for name, *others in sorted(spellings.values())}
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ValueError(
            f"{path}: column '{columns.label}' has {len(classes)} different values, "
            f"expected 2 to {MAX_CLASSES} classes; give --label COLUMN."
        )
    return classes


def complete_answers(answers: Answers, classes: tuple[str, ...], ask: Ask | None) -> dict[str, str]:
    """All answers, from the options, else from the user; a positive class only if there are two classes."""
    choices = {"modality": MODALITIES, "laterality": LATERALITIES}
    if len(classes) == 2:
        choices = {"positive_class": classes, **choices}
    given = {key: getattr(answers, key) for key in choices}
    for key, value in given.items():
        if value is not None and value not in choices[key]:
            expected = f"{did_you_mean(value, choices[key])} Expected one of {', '.join(choices[key])}."
            raise ValueError(f"{option_name(key)}: got '{value}'.{expected}")
    missing = [key for key, value in given.items() if value is None]
    if missing and ask is None:
        wanted = "; ".join(f"{option_name(key)}, one of {', '.join(choices[key])}" for key in missing)
        raise ValueError(f"these cannot be guessed, and there is no terminal to ask at; give {wanted}.")
    return given | {key: ask(key, choices[key]) for key in missing}


# --- guesses ----------------------------------------------------------------------------------------------------------


def guess_columns(table: pd.DataFrame, scans: Path, given: dict[str, str]) -> Columns:
    """Roles of the table's columns; `given` roles are used unchanged.

    Raises `ValueError` that names every role without a column, with the option that gives it.
    """
    check_given(table, given)
    named = {role: find_column(table, names) for role, names in COLUMN_NAMES.items()}
    chosen = named | {PATH: find_path_column(table, scans) or named[PATH]} | given
    missing = [role for role in REQUIRED if not chosen[role]]
    if missing:
        options = ", ".join(f"{option_name(role)} COLUMN" for role in missing)
        advice = " If no two scans share a patient, give the scan's column." if PATIENT_ID in missing else ""
        found = f"no column found for {', '.join(missing)} among {', '.join(table.columns)}"
        raise ValueError(f"{found}; give {options}.{advice}")
    return Columns(**chosen, clinical=find_columns(table, CLINICAL), acquisition=find_columns(table, ACQUISITION))


def check_given(table: pd.DataFrame, given: dict[str, str]) -> None:
    for role, name in given.items():
        if name not in table.columns:
            hint = did_you_mean(name, table.columns)
            raise ValueError(f"{option_name(role)}: no column '{name}'.{hint} Known: {', '.join(table.columns)}.")


def option_name(key: str) -> str:
    """The option of the command line that gives an answer or a role."""
    return f"--{key.replace('_', '-')}"


def find_path_column(table: pd.DataFrame, scans: Path) -> str | None:
    """The column whose values are mostly files or folders below `scans`."""
    shares = {name: table[name].map(lambda value: is_below(scans, value)).mean() for name in table.columns}
    best = max(shares, key=shares.__getitem__)
    return best if shares[best] > 0.5 else None


def is_below(scans: Path, value: str) -> bool:
    return bool(value) and (scans / value).exists()


def find_column(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """The column with the first of these names that occurs."""
    by_name = {normalize_name(name): name for name in reversed(table.columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def find_columns(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in table.columns if normalize_name(name) in names)


def normalize_name(name: str) -> str:
    """Lower-case letters and digits only: Patient-ID, patient_id and PatientID become equal."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def guess_modality(paths: Iterable[Path]) -> str | None:
    """The modality of the first scans, mask or CT; None if it is not certain or they cannot be read."""
    chosen = [path for path in paths if path.exists()][:MAX_SCANS_READ]
    try:
        guesses = {modality_of(read_scan(path).array) for path in chosen}
    except (ValueError, OSError):
        return None  # ingest reports the problem of the scan
    return guesses.pop() if len(guesses) == 1 else None


def modality_of(array: np.ndarray) -> str | None:
    low, high = array.min(), array.max()
    if (low, high) in MASK_VALUES and np.isin(array, (low, high)).all():
        return "mask"
    return "CT" if low < AIR_HU else None


# --- the file ---------------------------------------------------------------------------------------------------------


def write_draft(cohort: Cohort, folder: Path, telling: tuple[str, ...] = ()) -> Path:
    """Write the config to `folder`; an existing file is never replaced. `telling` columns are pointed out in it."""
    path = folder / f"{cohort.name}.yaml"
    if path.exists():
        raise ValueError(f"{path} exists and was not changed; give --name for another name, or remove the file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_yaml(cohort, telling), encoding="utf-8")
    return path


def run_command(cohort: Cohort) -> str:
    """The command that runs every stage with all folds, so that each development patient validates once."""
    folds = ",".join(str(fold) for fold in range(cohort.split.num_folds))
    return f"dvc exp run -S cohort={cohort.name} -S 'folds=[{folds}]'"


def format_yaml(cohort: Cohort, telling: tuple[str, ...] = ()) -> str:
    """The draft as YAML: one decision per line, with comments on those that need thought."""
    columns = cohort.columns.model_dump(mode="json", exclude_defaults=True)
    source = cohort.source.model_dump(mode="json", exclude_defaults=True)
    lines = [
        f"# Drafted by `python -m pipeline.init`; check every line, then: {run_command(cohort)}",
        "# A variable in place of a folder, such as $SCANS, keeps your own paths out of git.",
        f"source: {format_json({'kind': cohort.source.kind, **source})}",
        f"columns: {format_json(columns)}  # add label_source: [columns that the label was made from]",
        f"modality: {cohort.modality}",
        f"laterality: {cohort.laterality}  # may left and right be swapped without changing the label?",
        "size_is_diagnostic: true  # false allows training to zoom the scans",
        "ingest: {}  # on_bad_scan: exclude continues without rejected scans",
        "split: {}  # test_fraction, num_folds, scheme, ...: python -m pipeline.split --help",
        *(
            f"# Column {format_json(name)} tells the class of every row: was the label made from it?"
            for name in telling
        ),
        "preprocess: {}  # what is not set here is decided by the plan, with its reason",
    ]
    if cohort.classes is not None:
        shown = format_json(cohort.model_dump(mode="json")["classes"])
        lines.insert(4, f"classes: {shown}  # each class with its other spellings in the table: are they one?")
    if cohort.positive_class is not None:
        lines.insert(4, f"positive_class: {format_json(cohort.positive_class)}")
    return "\n".join(lines) + "\n"


def format_json(value: object) -> str:
    """JSON, which is YAML on one line with every string in quotes."""
    return json.dumps(value, ensure_ascii=False)
