"""What the scans are, and how they are divided and prepared: `configs/cohorts/*.yaml`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from pipeline.config.intensity import Intensity, Window
from pipeline.config.section import Auto, Millimetres, Name, Section, Voxels
from pipeline.config.source import FolderSource, MedmnistSource, PhantomSource


class Columns(Section):
    """Which column of the label table plays which role."""

    scan_id: str = "scan_id"
    """Unique name of a scan, kept as text."""
    patient_id: str = "patient_id"
    """Who was scanned, kept as text; never on two sides of a split."""
    path: str = "path"
    """Scan file, relative to the scans folder."""
    label: str = "label"
    """The class to predict."""
    split: str | None = None
    """A split to use as it is: train, val or test."""
    label_source: tuple[str, ...] = ()
    """What the label was made from; kept out of every model and audit."""
    clinical: tuple[str, ...] = ()
    """Covariates of the patient, such as age and sex."""
    acquisition: tuple[str, ...] = ()
    """Covariates of the scanner or protocol."""
    site: str | None = None
    """Where the scan was made."""
    group: tuple[str, ...] = ()
    """Further columns whose values may not straddle a split, such as a family."""
    date: str | None = None
    """When the scan was made, as YYYY-MM-DD; for a split by date."""

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that figures may be broken down by."""
        return (*self.clinical, *self.acquisition, *([self.site] if self.site else []))


class Ingest(Section):
    """Checking scans and table."""

    on_bad_scan: Literal["stop", "exclude"] = "stop"
    """Stop with all of them listed, or go on without them and say so in the report."""
    fill_nonfinite: float | None = None
    """Value for NaN and infinite voxels; without one, a scan that has any is bad."""


class Split(Section):
    """Dividing patients; a split given by `columns.split` or `file` is used as it is."""

    scheme: Literal["folds", "holdout", "nested", "sites", "dates"] = "folds"
    """Test set and folds; one validation set; every part tested in turn; a site a fold; the latest scans as test."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of patients locked away for the final test; 0 for cross-validation alone; nested has no locked test."""
    num_folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the other patients; each is the validation set of one training."""
    num_repeats: PositiveInt = 1
    """Divisions into folds; repeat r has the folds from r * num_folds."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the development patients that validate, for scheme holdout."""
    seed: NonNegativeInt = 0
    """Fixes who goes where."""
    stratify: tuple[str, ...] = ()
    """Covariates to balance over the folds where possible; labels always are."""
    test_sites: tuple[str, ...] = ()
    """Sites locked away as test, in place of a share of the patients; for scheme sites."""
    file: str | None = None
    """CSV with scan_id and split (train, val, test, or a fold's number); `${NAME}` is read from the environment."""
    accepted_leaks: tuple[str, ...] = ()
    """Codes of findings in leakage.json that are known and accepted; each is stamped in the report."""
    pretraining_patients: str | None = None
    """Text file of patients seen in pretraining, one a line; `${NAME}` is read from the environment."""
    statistics_patients: str | None = None
    """The same for patients that went into statistics behind the given files: a harmonisation, a template."""


class Preprocess(Section):
    """From a raw scan to the network's input; `auto` is decided by the plan stage and written to plan.yaml."""

    orientation: Auto | Annotated[str, Field(pattern=r"^[RLAPIS]{3}$")] = "auto"
    """Where the axes (D, H, W) point, e.g. SPL: axial slices in radiological view."""
    spacing_mm: Auto | Millimetres = "auto"
    """Voxel size along (D, H, W)."""
    size_voxels: Auto | Voxels = "auto"
    """Input size along (D, H, W); the scan is cropped or padded to it, never stretched."""
    crop: Auto | Literal["foreground", "center"] = "auto"
    """What the input is centred on: the body's box, or the middle of the scan."""
    tilt: Literal["keep", "straighten"] = "keep"
    """A scan acquired at an angle keeps its own axes, or is interpolated along the scanner's."""
    intensity: Auto | Intensity = "auto"
    """How voxel values are scaled."""
    max_voxels: Auto | PositiveInt = "auto"
    """Largest input that `auto` may plan; auto: what this machine trains in reasonable time."""


class Cohort(Section):
    """What the scans are, and how they are divided and prepared."""

    name: Name
    """The file's name; folder below data/ and runs/."""
    source: Annotated[PhantomSource | MedmnistSource | FolderSource, Field(discriminator="kind")]
    """Where scans and labels come from."""
    columns: Columns = Columns()
    """Roles of the table's columns."""
    classes: tuple[str, ...] | None = None
    """Class names in order; default: those found, sorted, the positive class last."""
    positive_class: str | None = None
    """Binary only, and required there: the class whose probability is reported."""
    modality: Literal["CT", "MR", "PET", "mask", "other"]
    """Decides how intensities are scaled and augmented."""
    laterality: Literal["relevant", "irrelevant"]
    """May left and right be swapped without changing the label?"""
    size_is_diagnostic: bool = True
    """Does size carry the label? Then scans are never zoomed."""
    ingest: Ingest = Ingest()
    split: Split = Split()
    preprocess: Preprocess = Preprocess()

    @model_validator(mode="after")
    def _possible_pairs(self) -> "Cohort":
        if isinstance(self.preprocess.intensity, Window) and self.modality != "CT":
            raise ValueError(f"preprocess.intensity: a window in HU needs modality CT, got {self.modality}")
        if self.classes and self.positive_class and self.positive_class not in self.classes:
            raise ValueError(f"positive_class '{self.positive_class}' is none of classes: {', '.join(self.classes)}")
        return self
