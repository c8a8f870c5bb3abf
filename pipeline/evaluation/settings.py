"""Settings of an evaluation, as plain values."""

from dataclasses import dataclass

from pipeline.core.errors import did_you_mean

BINARY, ORDINAL, MULTILABEL = "binary", "ordinal", "multilabel"
TASKS = ("auto", BINARY, "multiclass", MULTILABEL, ORDINAL)


@dataclass(frozen=True)
class Settings:
    """The config section `evaluation` documents each field and has the same defaults."""

    confidence: float = 0.95
    num_bootstrap: int = 2000
    operating_point: str = "youden"
    operating_target: float = 0.9
    miss_cost: float = 1.0
    patient_rule: str = "mean"
    prevalence: float | None = None
    decision_thresholds: tuple[float, float] = (0.1, 0.5)
    task: str = "auto"
    """multilabel, ordinal, or one class of several (binary, multiclass, auto): the cohort's key."""
    calibration_bins: str = "equal_width"
    conformal_coverage: float = 0.9
    intersections: tuple[tuple[str, ...], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task: unknown '{self.task}'.{did_you_mean(self.task, TASKS)} Known: {', '.join(TASKS)}.")
