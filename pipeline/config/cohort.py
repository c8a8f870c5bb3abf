"""A cohort, `configs/cohorts/*.yaml`: what the scans are, and how they are divided and preprocessed."""

from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.columns import Columns
from pipeline.config.ingest import Ingest
from pipeline.config.intensity import Suv, Window
from pipeline.config.preprocess import Preprocess
from pipeline.config.section import Auto, Name, Section
from pipeline.config.source import AnySource
from pipeline.config.split import Split


class Cohort(Section):
    """What the scans are, and how they are divided and prepared."""

    name: Name
    """The file's name; folder below data/ and runs/."""
    source: AnySource
    """Where scans and labels come from."""
    plugins: tuple[str, ...] = Field(default=(), exclude=True)
    """Modules of your own, found from the current folder, that register sources; never recorded."""
    columns: Columns = Columns()
    """Roles of the table's columns."""
    classes: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    """Class names in order, or each with its other spellings; default: those found, sorted, the positive class last."""
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
    encoder_overlap: dict[str, Literal["none", "unknown"]] = {}
    """By encoder of configs/encoders that was trained on patients: are some of this cohort among them?"""
    ingest: Ingest = Ingest()
    split: Split = Split()
    preprocess: Preprocess = Preprocess()

    @property
    def spellings(self) -> dict[str, tuple[str, ...]]:
        """The declared classes in order, each with its other spellings in the table."""
        return self.classes if isinstance(self.classes, dict) else dict.fromkeys(self.classes or (), ())

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
        words = [word for name, others in self.spellings.items() for word in {name, *others}]
        if twice := [word for word, count in Counter(words).items() if count > 1]:
            raise ValueError(f"classes: '{twice[0]}' stands for two classes, expected one")
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
        self.source.check_columns(columns)
        if crop == "mask" and not columns.crop_mask:
            raise ValueError("preprocess.crop: mask needs columns.crop_mask, got none")
        if crop == "point" and not columns.crop_center_mm:
            raise ValueError("preprocess.crop: point needs columns.crop_center_mm, got none")
        if crop == "point" and self.preprocess.size_voxels == "auto":
            raise ValueError("preprocess.crop: point needs preprocess.size_voxels, got auto, which covers whole scans")
        return self
