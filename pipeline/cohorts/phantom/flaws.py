"""What goes wrong in real cohorts, planted on request: wrong labels, patients under two names, scans saved twice."""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.cohorts.phantom.population import NEGATIVE, POSITIVE, Patient
from pipeline.cohorts.phantom.records import Record, folders
from pipeline.config import PhantomSource
from pipeline.core.paths import CohortPaths

OTHER = {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}


def flip_labels(patients: list[Patient], source: PhantomSource) -> list[Patient]:
    """Give a share of the patients the other label; their true probability stays."""
    rng = np.random.default_rng([source.seed, 2])
    chosen = set(rng.permutation(len(patients))[: round(source.mislabelled * len(patients))])
    return [
        replace(patient, label=OTHER[patient.label], is_mislabelled=True) if patient.index in chosen else patient
        for patient in patients
    ]


def plant_copies(records: list[Record], source: PhantomSource, paths: CohortPaths) -> list[Record]:
    """Write scans once more under other names; gives the records of the copies."""
    rng = np.random.default_rng([source.seed, 3])
    leaked, duplicated = _leak_patients(records, source, rng), _duplicate_scans(records, source, rng)
    for copy in leaked:
        _copy_files(copy, paths, copy_scan=shutil.copyfile)
    for copy in duplicated:
        _copy_files(copy, paths, copy_scan=_resave)
    return leaked + duplicated


def _leak_patients(records: list[Record], source: PhantomSource, rng: np.random.Generator) -> list[Record]:
    """All scans of some patients again, under a new patient's name, as when somebody is registered twice."""
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
    """Some scans again, filed under another patient, of the same label where there is one, for it is no mislabel."""
    copies = []
    for original in (records[index] for index in rng.permutation(len(records))[: source.duplicated_scans]):
        others = [record.patient for record in records if record.patient != original.patient]
        alike = [patient for patient in others if patient.label == original.patient.label] or others
        receiver = alike[rng.integers(len(alike))]
        scan_id = f"{receiver.patient_id}_copy-{len(copies) + 1}"
        copies.append(Record(scan_id, receiver, original.head, original.scanner, "duplicated_scan", original.scan_id))
    return copies


def _copy_files(copy: Record, paths: CohortPaths, copy_scan: Callable[[Path, Path], object]) -> None:
    """The scan by `copy_scan`, its truth as it is."""
    for folder in folders(paths):
        original = folder / f"{copy.copy_of}.nii.gz"
        (copy_scan if folder == paths.raw else shutil.copyfile)(original, folder / copy.path)


def _resave(original: Path, copy: Path) -> None:
    """The same voxels in a file of other bytes."""
    image = nib.load(original)
    image.header["descrip"] = "re-saved"
    copy.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
