"""What may be chosen about an evaluation, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Defaults are the config's; each meaning stands there, in the section `evaluation`."""

    confidence: float = 0.95
    num_bootstrap: int = 2000
    operating_point: str = "youden"
    operating_target: float = 0.9
    miss_cost: float = 1.0
    patient_rule: str = "mean"
    prevalence: float | None = None
    ordered_classes: bool = False
    seed: int = 0
