"""The whole schema: what may stand in a config, its type, default, unit and meaning.

An experiment (`configs/*.yaml`) says how a model is made and judged; a cohort (`configs/cohorts/*.yaml`) says what the
scans are and how they are prepared; `Config` is the two together, which is what a stage gets.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Millimetres = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Voxels = tuple[PositiveInt, PositiveInt, PositiveInt]
TAGS = ("kind", "scheme")
"""Keys whose value chooses one of several sections."""


class Section(BaseModel):
    """A part of a config: frozen, and without room for unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


# --- the cohort -------------------------------------------------------------------------------------------------------


class PhantomSource(Section):
    """A brain cohort grown from the ICBM152 template, with a planted lesion and a known best AUROC."""

    kind: Literal["phantom"]
    num_patients: PositiveInt = 120
    """Patients to generate; each has one to three scans."""
    seed: NonNegativeInt = 0
    """The same seed gives the same bytes."""
    coarsen: PositiveFloat = 1.0
    """Factor on the voxel size of every scanner; 2 makes a cohort an eighth of the size, to try things out."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] = 0.35
    """Expected share of patients with the positive label."""
    best_auroc: Annotated[float, Field(gt=0.5, lt=1)] = 0.92
    """AUROC of the true probability, which no classifier can beat in expectation."""
    site_shortcut: Fraction = 0.0
    """Share of patients whose site is chosen by their label: 0 none, 1 the site gives the label away."""
    leaked_patients: NonNegativeInt = 0
    """Patients whose scans appear again, byte for byte, under a new patient's id."""
    duplicated_scans: NonNegativeInt = 0
    """Scans that appear again, re-saved, under the id of another patient."""
    mislabelled: Fraction = 0.0
    """Share of patients whose label is flipped."""

    @model_validator(mode="after")
    def _enough_patients(self) -> "PhantomSource":
        if self.leaked_patients > self.num_patients:
            raise ValueError(f"leaked_patients must be at most num_patients, got {self.leaked_patients}")
        if self.duplicated_scans and self.num_patients < 2:
            raise ValueError("duplicated_scans needs two patients or more: a copy is filed under another one")
        return self


class MedmnistSource(Section):
    """A MedMNIST3D set with its official split, through the `medmnist` package."""

    kind: Literal["medmnist"]
    name: Literal["adrenal", "fracture", "nodule", "organ", "synapse", "vessel"]
    """Which of the six 3D sets."""
    size: Literal[28, 64] = 28
    """Voxels an axis."""


class FolderSource(Section):
    """A folder of scans and a table of labels."""

    kind: Literal["folder"]
    scans: str
    """Folder that paths in the table start from; `${NAME}` is read from the environment."""
    table: str
    """CSV, TSV or Parquet with a row a scan; `${NAME}` is read from the environment."""
    bids_suffix: str | None = None
    """BIDS: which scans to take, such as T1w; the table is then participants.tsv, with a row a patient."""


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


class Window(Section):
    """CT: saturate outside a window, then scale it to 0..1."""

    scheme: Literal["window"]
    window_hu: tuple[float, float]
    """(low, high) in Hounsfield units."""

    @model_validator(mode="after")
    def _low_below_high(self) -> "Window":
        if not self.window_hu[0] < self.window_hu[1]:
            raise ValueError(f"window_hu must be (low, high) with low < high, got {self.window_hu}")
        return self


class ZScore(Section):
    """MR: clip at percentiles of the foreground, then subtract its mean and divide by its standard deviation."""

    scheme: Literal["zscore"]
    percentiles: tuple[float, float] = (0.5, 99.5)
    """(low, high) of the foreground, in percent."""


class Rescale(Section):
    """Any modality: percentiles of the foreground to 0..1."""

    scheme: Literal["rescale"]
    percentiles: tuple[float, float] = (0.5, 99.5)
    """(low, high) of the foreground, in percent."""


class Unchanged(Section):
    """Binary masks, and values that already mean something: left as they are (a mask resampled is its occupancy)."""

    scheme: Literal["unchanged"]


Intensity = Annotated[Window | ZScore | Rescale | Unchanged, Field(discriminator="scheme")]


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


class Forecast(Section):
    """What the plan will cost on this machine; rough, from a short probe."""

    disk_mb: NonNegativeFloat
    """Preprocessed scans of the whole cohort."""
    memory_mb: NonNegativeFloat
    """Peak of one training step beyond the libraries."""
    seconds_per_epoch: NonNegativeFloat
    """One pass over the training scans of one fold."""
    hours_per_fold: NonNegativeFloat
    """max_epochs of them."""


class Plan(Section):
    """`plan.yaml`: the decided form of `Preprocess` with the advice that goes with it, and a reason for each line."""

    orientation: Annotated[str, Field(pattern=r"^[RLAPIS]{3}$")]
    spacing_mm: Millimetres
    size_voxels: Voxels
    crop: Literal["foreground", "center"]
    tilt: Literal["keep", "straighten"] = "keep"
    intensity: Intensity
    fill_nonfinite: float | None = None
    """Value for NaN and infinite voxels, from the cohort's ingest section."""
    batch_size: PositiveInt
    accumulate: PositiveInt
    max_epochs: PositiveInt
    patience: PositiveInt | None = None
    """Epochs without improvement after which training may stop."""
    stem_stride: Voxels = (4, 4, 4)
    """First downsampling along (D, H, W) that leaves two tokens an axis in the last of four stages."""
    model: str | None = None
    """Recommended kind of model for this many patients."""
    augmentation: Literal["none", "light", "medium", "strong"] = "medium"
    """Recommended strength."""
    forecast: Forecast | None = None
    measured: tuple[str, ...] = ()
    """Development scans whose voxels were looked at; all others gave their header only."""
    reasons: dict[str, str]
    digests: dict[str, str] = {}
    """Of each line as planned; a line that no longer agrees with its digest was edited by hand."""


# --- the experiment ---------------------------------------------------------------------------------------------------


class Model(Section):
    """Which network."""

    name: str
    """A registered model; `python -m pipeline.models` lists them."""
    volume: str | dict[str, Any] | None = None
    """How a 2D network sees a volume (slicewise, slab, triplanar, acs, inflate), with that mode's options."""
    pretrained: str | None = None
    """Local file, package:NAME/FILE of an installed package, URL with #sha256=, or timm:NAME."""
    allow_missing: tuple[str, ...] = ()
    """Parts whose pretrained weights may be missing or of another shape, by name."""
    freeze: bool = False
    """Keep the features as they are, compute them once, and fit a logistic head on them."""
    lora: dict[str, Any] | None = None
    """Low-rank updates of a frozen network: rank, alpha, drop_rate, targets."""
    options: dict[str, Any] = {}
    """Options of that network, such as depths or drop_path_rate."""


class Augmentation(Section):
    """Random changes to training scans; each is a function of (seed, epoch, scan)."""

    strength: Auto | Literal["none", "light", "medium", "strong"] = "auto"
    """auto: strong under 200 training patients, medium to 1,000, light above."""
    flip_left_right: Auto | bool = "auto"
    """auto: only where the cohort's laterality is irrelevant."""
    zoom: Auto | bool = "auto"
    """auto: only where size is not diagnostic."""


class Training(Section):
    """Optimisation."""

    max_epochs: Auto | PositiveInt = "auto"
    """Passes over the training scans; auto: from the plan."""
    batch_size: Auto | PositiveInt = "auto"
    """Scans a step; auto: from the plan."""
    accumulate: Auto | PositiveInt = "auto"
    """Steps whose gradients are summed before an update; auto: from the plan."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9; norms and biases are not decayed."""
    learning_rate: PositiveFloat = 5e-4
    """Peak, reached after the warm-up, then a cosine down to 1 %."""
    weight_decay: NonNegativeFloat = 0.05
    """On matrices and kernels only."""
    warmup_fraction: Fraction = 0.1
    """Share of all updates in which the rate rises."""
    label_smoothing: Fraction = 0.0
    """Cross-entropy towards the uniform distribution."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class counts the same in the loss."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm."""
    monitor: Literal["auroc", "loss"] = "auroc"
    """Validation figure that picks the best checkpoint."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning's word for the arithmetic."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    num_workers: NonNegativeInt = 0
    """Loading processes; the result does not depend on them."""


class Evaluation(Section):
    """Figures from predictions.csv."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of every interval."""
    num_bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Resamples of patients."""
    operating_point: Literal["youden", "sensitivity", "specificity", "cost"] = "youden"
    """How the threshold is chosen on validation; test never sees the choice."""
    operating_target: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """The sensitivity or specificity to keep, where that is what is asked for."""
    miss_cost: PositiveFloat = 1.0
    """How many false alarms a missed positive is worth, for the operating point `cost`."""
    patient_rule: Literal["mean", "max"] = "mean"
    """How the probabilities of a patient's scans become one."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the positive class where the model would be used; adds predictive values at that share."""
    ordered_classes: bool = False
    """Are more than two classes grades of one thing? Adds the quadratic kappa."""
    seed: NonNegativeInt = 0
    """Fixes the resamples."""


class Explanation(Section):
    """Attribution maps."""

    num_scans: NonNegativeInt = 4
    """Test scans to explain, the most confident right and wrong ones first."""
    method: Literal["occlusion", "gradcam"] = "gradcam"
    """Grad-CAM on the last stage that keeps at least four tokens an axis, or occlusion by patches, for any network."""


class Tracking(Section):
    """Weights & Biases."""

    mode: Literal["auto", "offline", "none"] = "auto"
    """auto: online with a key, else offline; none: the CSV history alone."""
    project: Name = "volumes"
    """W&B project."""
    log_images: bool = False
    """Let pixels leave the machine, and the report, which shows scans and their ids."""


class Config(Section):
    """All that a stage may read."""

    name: Name
    """The experiment: its file's name."""
    cohort: Cohort
    """The cohort's own file; on the command line `cohort=NAME` picks it and `cohort.split.num_folds=3` changes it."""
    fold: NonNegativeInt = 0
    """Which fold validates, from 0."""
    folds: tuple[NonNegativeInt, ...] = (0,)
    """Folds that are trained, from params.yaml."""
    experiments: tuple[Name, ...] = ()
    """Experiments that are compared, from params.yaml."""
    seed: NonNegativeInt = 0
    """Initial weights, order and augmentation."""
    model: Model
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    explanation: Explanation = Explanation()
    tracking: Tracking = Tracking()
    root: Path = Path(".")
    """Folder that holds data/, runs/ and reports/."""

    @model_validator(mode="after")
    def _possible_pairs(self) -> "Config":
        if self.augmentation.flip_left_right is True and self.cohort.laterality == "relevant":
            raise ValueError("augmentation.flip_left_right=true contradicts the cohort's laterality: relevant")
        if self.augmentation.zoom is True and self.cohort.size_is_diagnostic:
            raise ValueError("augmentation.zoom=true contradicts the cohort's size_is_diagnostic: true")
        return self
