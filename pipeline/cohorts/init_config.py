"""Draft a cohort config: guess column roles and modality from a table and its scans."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.cohorts.label_table import MISSING, read_spreadsheet
from pipeline.cohorts.sources.kinds import FolderSource
from pipeline.config import Cohort, Columns
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.errors import did_you_mean
from pipeline.imaging.io.read import read_scan

MOST_READ = 5
AIR_HU = -900
"""Voxels below this are air in CT; no other modality goes there."""
MASK_VALUES = ((0, 1), (0, 255))


def guess_modality(paths: Iterable[Path]) -> str | None:
    """What the first scans all are, mask or CT; None where they leave a doubt or cannot be read."""
    chosen = [path for path in paths if path.exists()][:MOST_READ]
    try:
        guesses = {modality_of(read_scan(path).array) for path in chosen}
    except (ValueError, OSError):
        # Ingest says what is wrong with a scan; here it only says nothing.
        return None
    return guesses.pop() if len(guesses) == 1 else None


def modality_of(array: np.ndarray) -> str | None:
    low, high = array.min(), array.max()
    if (low, high) in MASK_VALUES and np.isin(array, (low, high)).all():
        return "mask"
    return "CT" if low < AIR_HU else None


NAMES = {
    SCAN_ID: ("scanid", "scan", "imageid", "image", "seriesid", "series", "sessionid", "caseid", "case", "id"),
    PATIENT_ID: ("patientid", "patient", "subjectid", "subject", "participantid", "participant", "pid", "person"),
    PATH: ("path", "file", "filename", "filepath", "nifti", "location"),
    LABEL: ("label", "class", "diagnosis", "target", "outcome", "group", "y"),
    "site": ("site", "center", "centre", "hospital", "institution"),
}
"""Usual names of a role, in plain spelling, the most telling first."""
CLINICAL = ("age", "sex", "gender", "weight", "height", "bmi")
ACQUISITION = ("scanner", "manufacturer", "model", "protocol", "fieldstrength", "sequence")
REQUIRED = (SCAN_ID, PATIENT_ID, PATH, LABEL)


def guess_columns(table: pd.DataFrame, scans: Path, given: dict[str, str]) -> Columns:
    """Roles of the table's columns; `given` ones are taken as they are.

    Raises `ValueError` that names every role without a column, with the option that gives it.
    """
    check_given(table, given)
    named = {role: column_named(table, names) for role, names in NAMES.items()}
    chosen = named | {PATH: column_of_paths(table, scans) or named[PATH]} | given
    missing = [role for role in REQUIRED if not chosen[role]]
    if missing:
        options = ", ".join(f"--{role.replace('_', '-')} COLUMN" for role in missing)
        advice = " Where no two scans share a patient, the patient is the scan." if PATIENT_ID in missing else ""
        found = f"no column found for {', '.join(missing)} among {', '.join(table.columns)}"
        raise ValueError(f"{found}; give {options}.{advice}")
    return Columns(**chosen, clinical=columns_named(table, CLINICAL), acquisition=columns_named(table, ACQUISITION))


def check_given(table: pd.DataFrame, given: dict[str, str]) -> None:
    for role, name in given.items():
        if name not in table.columns:
            hint = did_you_mean(name, table.columns)
            known = f"{hint} Known: {', '.join(table.columns)}."
            raise ValueError(f"--{role.replace('_', '-')}: no column '{name}'.{known}")


def column_of_paths(table: pd.DataFrame, scans: Path) -> str | None:
    """The column most of whose values are files or folders below `scans`."""
    found = {name: table[name].map(lambda value: leads_to_scan(scans, value)).mean() for name in table.columns}
    best = max(found, key=found.__getitem__)
    return best if found[best] > 0.5 else None


def leads_to_scan(scans: Path, value: str) -> bool:
    return bool(value) and (scans / value).exists()


def column_named(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    """The column with the most telling of these names."""
    by_spelling = {plain(name): name for name in reversed(table.columns)}
    return next((by_spelling[name] for name in names if name in by_spelling), None)


def columns_named(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in table.columns if plain(name) in names)


def plain(name: str) -> str:
    """Letters and digits alone: Patient-ID, patient_id and PatientID are one."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


MODALITIES = ("CT", "MR", "PET", "mask", "other")
LATERALITIES = ("relevant", "irrelevant")
MOST_CLASSES = 50
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")

Ask = Callable[[str, tuple[str, ...]], str]
"""Puts a question with its possible answers to the user."""


@dataclass(frozen=True)
class Answers:
    """What a table does not say and nobody may guess; None where it was not given."""

    positive_class: str | None = None
    modality: str | None = None
    laterality: str | None = None


def draft_cohort(
    scans: Path, table_path: Path, name: str | None, given: dict[str, str], answers: Answers, ask: Ask | None
) -> Cohort:
    """The cohort these scans and labels make; `ask` is None where nobody is there to answer.

    A modality that the voxels leave no doubt about is not asked for.

    Raises `ValueError` for a table without the needed columns, and one that lists every answer that is missing.
    """
    if not scans.is_dir():
        raise FileNotFoundError(f"{scans} is not a folder; give the folder of scans, then the table of labels.")
    table = read_spreadsheet(table_path)
    columns = guess_columns(table, scans, given)
    if answers.modality is None:
        answers = replace(answers, modality=guess_modality(scans / path for path in table[columns.path]))
    return Cohort(
        name=checked_name(name or NOT_IN_NAMES.sub("_", scans.resolve().name).lstrip("_.-")),
        source=FolderSource(kind="folder", scans=str(scans.resolve()), table=str(table_path.resolve())),
        columns=columns,
        **complete(answers, classes_of(table, columns, table_path), ask),
    )


def checked_name(name: str) -> str:
    """The name, if a file and a folder can bear it."""
    if not name or NOT_IN_NAMES.search(name) or not name[0].isalnum():
        raise ValueError(f"--name: got '{name}', expected letters, digits, _, . and -, the first a letter or digit.")
    return name


def classes_of(table: pd.DataFrame, columns: Columns, path: Path) -> tuple[str, ...]:
    """Values of the label column, sorted."""
    labels = table[columns.label].str.strip()
    classes = tuple(sorted(set(labels[~labels.str.lower().isin(MISSING)])))
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise ValueError(
            f"{path}: column '{columns.label}' has {len(classes)} different values, "
            f"expected 2 to {MOST_CLASSES} classes; give --label COLUMN."
        )
    return classes


def complete(answers: Answers, classes: tuple[str, ...], ask: Ask | None) -> dict[str, str]:
    """All that must be known, from the options, then from the user; a positive class only where there are two."""
    choices = {"modality": MODALITIES, "laterality": LATERALITIES}
    if len(classes) == 2:
        choices = {"positive_class": classes, **choices}
    given = {key: getattr(answers, key) for key in choices}
    for key, value in given.items():
        if value is not None and value not in choices[key]:
            expected = f"{did_you_mean(value, choices[key])} Expected one of {', '.join(choices[key])}."
            raise ValueError(f"--{key.replace('_', '-')}: got '{value}'.{expected}")
    missing = [key for key, value in given.items() if value is None]
    if missing and ask is None:
        wanted = "; ".join(f"--{key.replace('_', '-')}, one of {', '.join(choices[key])}" for key in missing)
        raise ValueError(f"these cannot be guessed, and there is no terminal to ask at; give {wanted}.")
    return given | {key: ask(key, choices[key]) for key in missing}


def write_draft(cohort: Cohort, folder: Path) -> Path:
    """Write the config to `folder`, but never over another."""
    path = folder / f"{cohort.name}.yaml"
    if path.exists():
        raise ValueError(f"{path} exists and is left as it is; give --name for another, or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_yaml(cohort), encoding="utf-8")
    return path


def as_yaml(cohort: Cohort) -> str:
    """The page a user goes on from: every decision on a line, the ones to think about with a comment."""
    columns = cohort.columns.model_dump(mode="json", exclude_defaults=True)
    source = cohort.source.model_dump(mode="json", exclude_defaults=True)
    lines = [
        f"# Drafted by `python -m pipeline.init`; see that it is right, then: dvc exp run -S cohort={cohort.name}",
        "# A variable in place of a folder, such as $SCANS, keeps paths of your own out of git.",
        f"source: {spell({'kind': cohort.source.kind, **source})}",
        f"columns: {spell(columns)}  # add label_source: [columns the label was made from]",
        f"modality: {cohort.modality}",
        f"laterality: {cohort.laterality}  # may left and right be swapped without changing the label?",
        "size_is_diagnostic: true  # false allows training to zoom the scans",
        "ingest: {}  # on_bad_scan: exclude goes on without scans that cannot be used",
        "split: {}  # test_fraction, num_folds, scheme, ...: python -m pipeline.split --help",
        "preprocess: {}  # whatever is not set here is decided by the plan, with its reason",
    ]
    if cohort.positive_class is not None:
        lines.insert(4, f"positive_class: {spell(cohort.positive_class)}")
    return "\n".join(lines) + "\n"


def spell(value: object) -> str:
    """JSON, which is YAML on one line with every string in quotes."""
    return json.dumps(value, ensure_ascii=False)
