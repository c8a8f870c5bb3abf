"""What is fitted on validation and applied as it is: threshold, calibration, conformal sets."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.conformal import Conformal, fit_conformal
from pipeline.evaluation.ensembling import Calibrations, fit_calibrations, pool, validation_of
from pipeline.evaluation.operating_point import OperatingPoint, choose_operating_point
from pipeline.evaluation.predictions import class_names
from pipeline.evaluation.settings import Settings


@dataclass(frozen=True)
class Frozen:
    """At one level."""

    calibrations: Calibrations
    point: OperatingPoint
    conformal: Conformal


FrozenByLevel = Mapping[str, Frozen | Mapping[str, Frozen]]
"""With several labels a scan, each label has its own."""


def freeze(units: pd.DataFrame, settings: Settings) -> Frozen:
    """Fit on the validation rows of `units`, a row a model and unit; reasons stand in for what cannot be fitted."""
    calibrations = fit_calibrations(units)
    validation = validation_of(pool(units, calibrations).stated) if len(units) else None
    return Frozen(
        calibrations,
        choose_operating_point(validation, settings, len(class_names(units)), num_models=len(calibrations)),
        fit_conformal(validation, settings.conformal_coverage, num_models=len(calibrations)),
    )
