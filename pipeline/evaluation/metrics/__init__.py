"""The metrics that this package registers, each a function of a weighted sample: weights (R, n) in, values (R,) out.

Metrics are reported in the order in which these modules register them.
"""

from pipeline.evaluation.metrics import discrimination

# isort: split
from pipeline.evaluation.metrics import decisions

# isort: split
from pipeline.evaluation.metrics import predictive_values

# isort: split
from pipeline.evaluation.metrics import calibration

# isort: split
from pipeline.evaluation.registry import METRICS, metric_digits, metric_title, select_metrics

__all__ = [
    "METRICS",
    "brier_parts",
    "calibration",
    "decisions",
    "discrimination",
    "metric_digits",
    "metric_title",
    "predictive_values",
    "select_metrics",
]
