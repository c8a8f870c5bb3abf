"""What is known of each written scan, and where its three files lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.cohorts.phantom.population import Patient
from pipeline.core.columns import LABEL, PATH, PATIENT_ID, SCAN_ID
from pipeline.core.paths import CohortPaths

Row = dict[str, str | float]


@dataclass(frozen=True)
class Record:
    """One scan."""

    scan_id: str
    patient: Patient
    """Whose name it bears."""
    head: Patient
    """Whose head it shows: another patient's in a planted copy."""
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
        """As any cohort's table has it."""
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
        """As nobody knows it of a real cohort."""
        return {
            SCAN_ID: self.scan_id,
            PATIENT_ID: self.patient.patient_id,
            "dose": self.head.dose,
            "decoy_dose": self.head.decoy_dose,
            "probability": self.head.probability,
        }

    def planted_rows(self) -> Iterator[Row]:
        """One for each flaw planted in this scan."""
        planted = {SCAN_ID: self.scan_id, PATIENT_ID: self.patient.patient_id}
        if self.patient.is_mislabelled:
            yield {"kind": "mislabelled", **planted, "copy_of": ""}
        if self.copy_kind:
            yield {"kind": self.copy_kind, **planted, "copy_of": self.copy_of}


def folders(paths: CohortPaths) -> tuple[Path, Path, Path]:
    """Where scans, lesion masks and lesion effects lie, under the same file names."""
    return paths.raw, paths.truth / "lesions", paths.truth / "effects"
