"""Tables of the phantom cohort, and the leaks and wrong labels planted in it."""

import gzip
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.cohorts.sources.phantom.options import PhantomSource
from pipeline.cohorts.sources.phantom.population import NEGATIVE, POSITIVE, Patient
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.paths import CohortPaths

Row = dict[str, str | float]


@dataclass(frozen=True)
class Record:
    """One scan."""

    scan_id: str
    patient: Patient
    """The patient whose id it has."""
    head: Patient
    """The patient whose head it shows: another one in a planted copy."""
    scanner: str
    copy_kind: str = ""
    """leaked_patient or duplicated_scan, in a planted copy."""
    copy_of: str = ""
    """The scan it was copied from."""

    @property
    def path(self) -> str:
        """Below raw/, and below each folder of the truth."""
        return f"{self.scan_id}.nii.gz"

    def label_row(self) -> Row:
        """The row of the label table."""
        patient = self.patient
        return {
            SCAN_ID: self.scan_id,
            PATIENT_ID: patient.patient_id,
            PATH: self.path,
            LABEL: patient.label,
            "age": patient.age,
            "sex": patient.sex,
            "site": patient.site,
            "scanner": self.scanner,
        }

    def truth_row(self) -> Row:
        """The row of true_probability.csv, unknown in a real cohort."""
        return {
            SCAN_ID: self.scan_id,
            PATIENT_ID: self.patient.patient_id,
            "dose": self.head.dose,
            "decoy_dose": self.head.decoy_dose,
            "probability": self.head.probability,
        }

    def planted_rows(self) -> Iterator[Row]:
        """One row of planted.csv per flaw in this scan."""
        planted = {SCAN_ID: self.scan_id, PATIENT_ID: self.patient.patient_id}
        if self.patient.is_mislabeled:
            yield {"kind": "mislabeled", **planted, "copy_of": ""}
        if self.copy_kind:
            yield {"kind": self.copy_kind, **planted, "copy_of": self.copy_of}


def folders(paths: CohortPaths) -> tuple[Path, Path, Path]:
    """The folders of scans, lesion masks and lesion effects, which contain the same file names."""
    return paths.raw, paths.truth / "lesions", paths.truth / "effects"


OTHER = {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}


def flip_labels(patients: list[Patient], source: PhantomSource) -> list[Patient]:
    """Give a share of the patients the other label; their true probability stays."""
    rng = np.random.default_rng([source.seed, 2])
    chosen = set(rng.permutation(len(patients))[: round(source.mislabeled * len(patients))])
    return [
        replace(patient, label=OTHER[patient.label], is_mislabeled=True) if patient.index in chosen else patient
        for patient in patients
    ]


def plant_copies(records: list[Record], source: PhantomSource, paths: CohortPaths) -> list[Record]:
    """Write scans again under other names; returns the records of the copies."""
    rng = np.random.default_rng([source.seed, 3])
    leaked, duplicated = _leak_patients(records, source, rng), _duplicate_scans(records, source, rng)
    for copy in leaked:
        _copy_files(copy, paths, copy_scan=shutil.copyfile)
    for copy in duplicated:
        _copy_files(copy, paths, copy_scan=_resave)
    return leaked + duplicated


def _leak_patients(records: list[Record], source: PhantomSource, rng: np.random.Generator) -> list[Record]:
    """All scans of some patients again, under a new patient's id, as for a patient who is registered twice."""
    names = list(dict.fromkeys(record.patient.patient_id for record in records))
    chosen = rng.permutation(names)[: source.leaked_patients]
    new_names = {str(name): f"sub-{len(names) + 1 + number:04d}" for number, name in enumerate(chosen)}
    return [
        replace(
            record,
            scan_id=record.scan_id.replace(record.patient.patient_id, new_name),
            patient=replace(record.patient, patient_id=new_name),
            copy_kind="leaked_patient",
            copy_of=record.scan_id,
        )
        for record in records
        if (new_name := new_names.get(record.patient.patient_id))
    ]


def _duplicate_scans(records: list[Record], source: PhantomSource, rng: np.random.Generator) -> list[Record]:
    """Some scans again, under another patient's id, of the same label if possible, so that no label becomes wrong."""
    copies = []
    for original in (records[index] for index in rng.permutation(len(records))[: source.duplicated_scans]):
        others = [record.patient for record in records if record.patient != original.patient]
        alike = [patient for patient in others if patient.label == original.patient.label] or others
        receiver = alike[rng.integers(len(alike))]
        scan_id = f"{receiver.patient_id}_copy-{len(copies) + 1}"
        copies.append(Record(scan_id, receiver, original.head, original.scanner, "duplicated_scan", original.scan_id))
    return copies


def _copy_files(copy: Record, paths: CohortPaths, copy_scan: Callable[[Path, Path], object]) -> None:
    """Copy the scan by `copy_scan`, and its truth byte for byte."""
    for folder in folders(paths):
        original = folder / f"{copy.copy_of}.nii.gz"
        (copy_scan if folder == paths.raw else shutil.copyfile)(original, folder / copy.path)


def _resave(original: Path, copy: Path) -> None:
    """Write the same voxels to a file with other bytes."""
    image = nib.load(original)
    image.header["descrip"] = "re-saved"
    copy.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
