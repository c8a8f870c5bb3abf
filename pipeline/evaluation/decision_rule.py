"""The decision rule that is fitted on validation and then fixed: calibration, threshold, conformal sets."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.conformal import Conformal, fit_conformal
from pipeline.evaluation.ensembling import Calibrations, ensemble_models, fit_calibrations, validation_of
from pipeline.evaluation.operating_point import OperatingPoint, choose_operating_point
from pipeline.evaluation.predictions import class_names
from pipeline.evaluation.settings import Settings


@dataclass(frozen=True)
class FittedOnValidation:
    """The fitted parts at one level."""

    calibrations: Calibrations
    point: OperatingPoint
    conformal: Conformal


FittedByLevel = Mapping[str, FittedOnValidation | Mapping[str, FittedOnValidation]]
"""By level; with several labels per scan, then by label."""


def fit_on_validation(units: pd.DataFrame, settings: Settings) -> FittedOnValidation:
    """Fit on the validation rows of `units`, one row per model and unit; what cannot be fitted has a reason."""
    calibrations = fit_calibrations(units)
    validation = validation_of(ensemble_models(units, calibrations).rows) if len(units) else None
    return FittedOnValidation(
        calibrations,
        choose_operating_point(validation, settings, len(class_names(units)), num_models=len(calibrations)),
        fit_conformal(validation, settings.conformal_coverage, num_models=len(calibrations)),
    )
