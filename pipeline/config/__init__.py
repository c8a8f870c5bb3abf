"""The whole schema: what may stand in a config, its type, default, unit and meaning.

An experiment (`configs/*.yaml`) says how a model is made and judged; a cohort (`configs/cohorts/*.yaml`) says what the
scans are and how they are prepared; `Config` is the two together, which is what a stage gets.
"""

from pipeline.config.cohort import Cohort, Columns, Ingest, Preprocess, Split
from pipeline.config.experiment import Augmentation, Evaluation, Explanation, Model, Tracking, Training
from pipeline.config.intensity import Histogram, Intensity, Rescale, Suv, Unchanged, Window, ZScore
from pipeline.config.plan import Forecast, Plan
from pipeline.config.section import TAGS, Section
from pipeline.config.source import FolderSource, MedmnistSource, PhantomSource
from pipeline.config.whole import Config

__all__ = [
    "TAGS",
    "Augmentation",
    "Cohort",
    "Columns",
    "Config",
    "Evaluation",
    "Explanation",
    "FolderSource",
    "Forecast",
    "Histogram",
    "Ingest",
    "Intensity",
    "MedmnistSource",
    "Model",
    "PhantomSource",
    "Plan",
    "Preprocess",
    "Rescale",
    "Section",
    "Split",
    "Suv",
    "Tracking",
    "Training",
    "Unchanged",
    "Window",
    "ZScore",
]
