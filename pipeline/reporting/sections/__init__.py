"""The sections of the report's pages, in the order in which readers see them."""

# ruff: noqa: F401, I001 - each import registers sections, in this order
from pipeline.reporting.sections import result
from pipeline.reporting.sections import panel
from pipeline.reporting.sections import metrics
from pipeline.reporting.sections import models
from pipeline.reporting.sections import audits
from pipeline.reporting.sections import baselines
from pipeline.reporting.sections import subgroups
from pipeline.reporting.sections import explanations
from pipeline.reporting.sections import neighbors
from pipeline.reporting.sections import cohort
from pipeline.reporting.sections import covariates
from pipeline.reporting.sections import samples
from pipeline.reporting.sections import record
from pipeline.reporting.sections import experiments
