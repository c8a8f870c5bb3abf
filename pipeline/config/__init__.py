"""The schema of a config: every key with its type, default, unit and meaning.

An experiment (`configs/*.yaml`) says how a model is trained and evaluated; a cohort (`configs/cohorts/*.yaml`) says
what the scans are and how they are preprocessed; `Config`, which a stage gets, contains both.
"""

from pipeline.config.augmentation import Augmentation
from pipeline.config.cohort import Cohort
from pipeline.config.columns import Columns
from pipeline.config.config import Config
from pipeline.config.encoder import Passport
from pipeline.config.evaluation import Evaluation
from pipeline.config.experiments import Experiments
from pipeline.config.explanation import Explanation
from pipeline.config.ingest import Ingest
from pipeline.config.intensity import Histogram, Intensity, Rescale, Suv, Unchanged, Window, ZScore
from pipeline.config.model import Model
from pipeline.config.plan import CostEstimate, Plan, ReferenceRanges
from pipeline.config.preprocess import Preprocess
from pipeline.config.section import TAGS, Section
from pipeline.config.source import Source
from pipeline.config.split import Split
from pipeline.config.tracking import Tracking
from pipeline.config.training import Training

__all__ = [
    "TAGS",
    "Augmentation",
    "Cohort",
    "Columns",
    "Config",
    "CostEstimate",
    "Evaluation",
    "Experiments",
    "Explanation",
    "Histogram",
    "Ingest",
    "Intensity",
    "Model",
    "Passport",
    "Plan",
    "Preprocess",
    "ReferenceRanges",
    "Rescale",
    "Section",
    "Source",
    "Split",
    "Suv",
    "Tracking",
    "Training",
    "Unchanged",
    "Window",
    "ZScore",
]
