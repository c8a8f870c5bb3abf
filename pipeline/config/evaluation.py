"""Section `evaluation`: metrics of a table of predictions."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat

from pipeline.config.section import Section

Share = Annotated[float, Field(gt=0, lt=1)]


def rising(thresholds: tuple[float, float]) -> tuple[float, float]:
    if thresholds[0] >= thresholds[1]:
        raise ValueError(f"expected the lower threshold first, got {thresholds[0]:g} and {thresholds[1]:g}")
    return thresholds


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
    prevalence: Share | None = None
    """Share of the positive class where the model would be used; adds predictive values at that share."""
    decision_thresholds: Annotated[tuple[Share, Share], AfterValidator(rising)] = (0.1, 0.5)
    """Lowest and highest probability from which somebody would act, for net benefit: at 0.1 a miss costs nine times a
    false alarm, at 0.5 as much."""
    calibration_bins: Literal["equal_width", "equal_count"] = "equal_width"
    """Ten bins of the calibration error and curve: of equal width, or with equally many rows."""
    conformal_coverage: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of patients of each class whose conformal set shall hold their class."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Covariates to combine into subgroups, such as [[sex, site]]."""
    seed: NonNegativeInt = 0
    """Fixes the resamples."""
