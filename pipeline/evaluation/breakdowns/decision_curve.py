"""Decision curves: what acting on the model is worth (Vickers and Elkin, Medical Decision Making 2006;26:565-574).

Who acts from a probability t holds a missed positive for (1 - t) / t times as bad as a false alarm. Net benefit counts
true positives a patient minus false alarms in that currency; a model is of use at t where it beats both acting on
everybody and acting on nobody, which is worth 0.
"""

import numpy as np
import pandas as pd

from pipeline.evaluation.precision.bootstrap import resamples
from pipeline.evaluation.precision.estimates import FEWEST_PATIENTS
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.tables.sample import Array, Sample, Weighted

THRESHOLDS = np.round(np.arange(0.02, 1, 0.02), 2)


def decision_curve(sample: Sample, settings: Settings) -> pd.DataFrame:
    """A row a threshold: net benefit of the model with its pointwise interval, and of acting on everybody."""
    called = sample.probs[:, [1]] >= THRESHOLDS
    low, high = interval(sample, called, settings)
    everybody = np.ones_like(called)
    return pd.DataFrame(
        {
            "threshold": THRESHOLDS,
            "net_benefit": net_benefit(sample.weighted(), called, THRESHOLDS)[0],
            "low": low,
            "high": high,
            "act_on_everybody": net_benefit(sample.weighted(), everybody, THRESHOLDS)[0],
        }
    )


def net_benefit(weighted: Weighted, called: Array, thresholds: Array) -> Array:
    """(R, T) worth of the calls, `called` (n, T) boolean, at each of T thresholds, in true positives a row."""
    is_positive = (weighted.sample.labels == 1)[:, None]
    worth = called * np.where(is_positive, 1.0, -thresholds / (1 - thresholds))
    return weighted.weights @ worth / weighted.total[:, None]


def interval(sample: Sample, called: Array, settings: Settings) -> tuple[Array, Array]:
    """(T,) low and high, by resampling patients; NaN with too few of a class."""
    if sample.patients_of_class.min() < FEWEST_PATIENTS:
        return np.full(len(THRESHOLDS), np.nan), np.full(len(THRESHOLDS), np.nan)
    blocks = resamples(sample, settings.num_bootstrap, settings.seed)
    values = np.concatenate([net_benefit(weighted, called, THRESHOLDS) for weighted in blocks])
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail], axis=0)
    return low, high
