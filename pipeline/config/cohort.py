"""What the scans are, and how they are divided and prepared: `configs/cohorts/*.yaml`."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from pipeline.config.intensity import Intensity, Suv, Window
from pipeline.config.section import Auto, Millimetres, Name, Section, Voxels
from pipeline.config.source import FolderSource, MedmnistSource, PhantomSource


class Columns(Section):
    """Which column of the label table plays which role."""

    scan_id: str = "scan_id"
    """Unique name of a scan, kept as text."""
    patient_id: str = "patient_id"
    """Who was scanned, kept as text; never on two sides of a split."""
    path: str = "path"
    """Scan file or folder of DICOM slices, relative to the scans folder."""
    channels: tuple[str, ...] = ()
    """Where a scan is several files on one grid: the columns that name one each, in place of `path`."""
    crop_mask: str | None = None
    """File of a mask in the scan's world, relative to the scans folder; for preprocess.crop: mask."""
    crop_center_mm: tuple[str, str, str] | None = None
    """Columns of a point's R, A and S in mm; for preprocess.crop: point."""
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
    fill_nonfinite: FiniteFloat | None = None
    """Value, in the scan's own unit, for NaN and infinite voxels; without one, a scan that has any is bad."""
    missing_channel: Literal["refuse", "zero"] = "refuse"
    """A scan that lacks a channel is bad, or has zeros there, and every scan has channels that say which it has."""


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
    """CSV with scan_id and split (train, val, test, or a fold's number); `$NAME` is read from the environment."""
    accepted_leaks: tuple[str, ...] = ()
    """Codes of findings in leakage.json that are known and accepted; each is stamped in the report."""
    pretraining_patients: str | None = None
    """Text file of patients seen in pretraining, one a line; `$NAME` is read from the environment."""
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
    crop: Auto | Literal["foreground", "center", "mask", "point"] = "auto"
    """What the input is centred on: the body's box, the scan's middle, columns.crop_mask or columns.crop_center_mm."""
    tilt: Literal["keep", "straighten"] = "keep"
    """A scan acquired at an angle keeps its own axes, or is interpolated along the scanner's."""
    bias_correction: Literal["none", "n4"] = "none"
    """MR: even out the coils' sensitivity before anything else; some seconds a scan, and needs SimpleITK."""
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
    task: Auto | Literal["binary", "multiclass", "multilabel", "ordinal"] = "auto"
    """multilabel: labels like `a;b`, or `none`; ordinal: `classes` are grades in order; auto: by their number."""
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
        if isinstance(self.preprocess.intensity, Suv) and self.modality != "PET":
            raise ValueError(f"preprocess.intensity: a window in SUV needs modality PET, got {self.modality}")
        if self.preprocess.bias_correction == "n4" and self.modality != "MR":
            raise ValueError(f"preprocess.bias_correction: n4 needs modality MR, got {self.modality}")
        if self.classes and self.positive_class and self.positive_class not in self.classes:
            raise ValueError(f"positive_class '{self.positive_class}' is none of classes: {', '.join(self.classes)}")
        if self.task == "ordinal" and not self.classes:
            raise ValueError("task 'ordinal' needs classes, the grades from the lowest to the highest, got none")
        if self.task == "multilabel" and self.positive_class:
            raise ValueError(f"task 'multilabel' has no positive_class, got '{self.positive_class}'")
        return self

    @model_validator(mode="after")
    def _named_files(self) -> "Cohort":
        columns, crop = self.columns, self.preprocess.crop
        if columns.channels and columns.path != Columns().path:
            raise ValueError(f"columns.channels stand in place of columns.path, got path '{columns.path}' too")
        if columns.channels and isinstance(self.source, FolderSource) and self.source.bids_suffix:
            raise ValueError("source.bids_suffix finds one file a scan, got columns.channels too")
        if crop == "mask" and not columns.crop_mask:
            raise ValueError("preprocess.crop: mask needs columns.crop_mask, got none")
        if crop == "point" and not columns.crop_center_mm:
            raise ValueError("preprocess.crop: point needs columns.crop_center_mm, got none")
        if crop == "point" and self.preprocess.size_voxels == "auto":
            raise ValueError("preprocess.crop: point needs preprocess.size_voxels, got auto, which covers whole scans")
        return self
