"""Section `columns`: the role of each column of the label table."""

from typing import Literal

from pydantic import model_validator

from pipeline.config.section import Section


class Columns(Section):
    """Which column of the label table plays which role."""

    scan_id: str = "scan_id"
    """Unique name of a scan, kept as text."""
    patient_id: str = "patient_id"
    """Who was scanned, kept as text; never on two sides of a split."""
    path: str = "path"
    """Scan file or folder of DICOM slices, relative to the scans folder."""
    channels: tuple[str, ...] = ()
    """If a scan is several files on one grid: the columns that name one file each, in place of `path`."""
    crop_mask: str | None = None
    """File of a mask in the scan's world, relative to the scans folder; for preprocess.crop: mask."""
    crop_center_mm: tuple[str, str, str] | None = None
    """Columns of a point's R, A and S in mm; for preprocess.crop: point."""
    label: str = "label"
    """The class to predict."""
    split: str | None = None
    """A split to use as it is: train, val or test."""
    label_source: tuple[str, ...] = ()
    """What the label was made from; kept out of every model and audit, and no input may come from it."""
    clinical: tuple[str, ...] = ()
    """Covariates of the patient, such as age and sex."""
    severity: tuple[str, ...] = ()
    """Those of `clinical` that say how ill a patient is, 0 for the healthy; audits tell sites from case mix by them."""
    acquisition: tuple[str, ...] = ()
    """Covariates of the scanner or protocol."""
    site: str | None = None
    """Where the scan was made."""
    group: tuple[str, ...] = ()
    """Further columns whose values may not straddle a split, such as a family."""
    date: str | None = None
    """When the scan was made, as YYYY-MM-DD; for a split by date."""
    decimal: Literal[".", ","] | None = None
    """Sign of decimals, for columns whose numbers leave a doubt, such as 2,201; default: decided by column."""

    @model_validator(mode="after")
    def _no_input_from_the_label(self) -> "Columns":
        inputs = {
            **({"channels": self.channels} if self.channels else {"path": (self.path,)}),
            "crop_mask": (self.crop_mask,),
            "crop_center_mm": self.crop_center_mm or (),
        }
        for key, names in inputs.items():
            for name in names:
                if name in (self.label, *self.label_source):
                    role = "label" if name == self.label else "label_source"
                    raise ValueError(
                        f"{key} is made from the label: got '{name}', which is columns.{role}, expected a column that "
                        "is there before anybody knows the label; name another one, or leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _severity_is_clinical(self) -> "Columns":
        for name in self.severity:
            if name not in self.clinical:
                known = ", ".join(self.clinical) or "empty"
                raise ValueError(
                    f"severity: got '{name}', expected one of columns.clinical ({known}); name it there too"
                )
        return self

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that metrics may be broken down by."""
        return (*self.clinical, *self.acquisition, *([self.site] if self.site else []))
