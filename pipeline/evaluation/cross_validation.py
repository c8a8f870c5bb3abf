"""A nested or repeated division judged as a whole, from its parts: outer parts, or repeats.

Each part has models of its own, and so a threshold frozen on its own validation patients. Outer parts test different
patients, who are laid side by side as those of folds are. Repeats judge the same patients again: a figure is the mean
over the repeats, and its interval draws patients, each with all of its repeats, which are no new patients.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.core.columns import FOLD, PATIENT_ID, SEED, TEST
from pipeline.evaluation.covariates import Background
from pipeline.evaluation.curves import OPERATING_POINTS, operating_table, plot_tables
from pipeline.evaluation.cv_design import divisions
from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.evaluate import (
    Evaluation,
    Judged,
    evaluate_table,
    floors_of,
    subgroups_of,
)
from pipeline.evaluation.models_table import SHOWN
from pipeline.evaluation.predictions import check_predictions
from pipeline.evaluation.registry import catalogue
from pipeline.evaluation.sample import Array, sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Entry, Estimate, estimate_metrics, smallest_difference
from pipeline.evaluation.uncertainty.repeated import Shared, estimate_means, mean_value

Parts = Mapping[str, Evaluation]
WITHOUT_INTERVAL = "the mean of {}, each of which was judged by itself"


def evaluate_divided(predictions: pd.DataFrame, settings: Settings, background: Background | None = None) -> Evaluation:
    """Every outer part or repeat by itself and then together; any other division as it is."""
    parts = divisions(check_predictions(predictions), "predictions")
    found = {name: evaluate_table(rows, settings, background) for name, rows in parts.items()}
    return next(iter(found.values())) if len(found) == 1 else put_together(found, settings, background)


def put_together(found: Parts, settings: Settings, background: Background | None) -> Evaluation:
    """The tables behind the headline are those of all outer parts, or of the first repeat."""
    first = next(iter(found.values()))
    together = replace(
        first,
        metrics={
            split: {level: combine(found, split, level, settings) for level in (SCAN, PATIENT)}
            for split in first.metrics
        },
        frozen={level: {name: part.frozen[level] for name, part in found.items()} for level in (SCAN, PATIENT)},
        models=pd.concat([part.models for part in found.values()] + [models_of(found)], ignore_index=True),
    )
    split, level = first.headline
    shown = [part.judged[level][split] for part in found.values()]
    return together if not are_apart(shown, split) else show(together, side_by_side(shown), background, settings)


def show(evaluation: Evaluation, shown: Judged, background: Background | None, settings: Settings) -> Evaluation:
    """The tables of the headline from the patients of all outer parts."""
    return replace(
        evaluation,
        plots=plot_tables(shown.sample, None, settings)
        | {OPERATING_POINTS: operating_table(None, shown.sample, settings)},
        subgroups=subgroups_of(shown, background, settings),
        floors=floors_of(shown, background, settings.confidence),
    )


def combine(parts: Parts, split: str, level: str, settings: Settings) -> dict[str, Entry]:
    """All metrics of one split at one level; those of one model alone are means without an interval."""
    entries = {name: part.metrics[split][level] for name, part in parts.items()}
    found = {
        metric: without_interval({name: own[metric] for name, own in entries.items()})
        for metric in next(iter(entries.values()))
    }
    judged = [part.judged[level][split] for part in parts.values() if split in part.judged[level]]
    if len(judged) == len(parts):
        found |= together(judged, split, entries, settings)
    return {name: estimate.entry() for name, estimate in found.items()}


def without_interval(entries: Mapping[str, Entry]) -> Estimate:
    mean = mean_value(entries)
    return mean if mean.reason else replace(mean, reason=WITHOUT_INTERVAL.format(", ".join(entries)))


def together(
    judged: list[Judged], split: str, entries: Mapping[str, Mapping[str, Entry]], settings: Settings
) -> dict[str, Estimate]:
    """The metrics of the catalogue, of outer parts side by side or as means over repeats."""
    if are_apart(judged, split):
        sample = side_by_side(judged).sample
        found = estimate_metrics(sample, catalogue(sample, settings), settings)
    else:
        found = estimate_means(entries, shared(judged), catalogue(judged[0].sample, settings), settings)
    return found | {"auroc_smallest_difference": smallest_difference(found["auroc"], settings.confidence)}


def are_apart(judged: list[Judged], split: str) -> bool:
    """Do the parts test different patients?"""
    patients = pd.concat([part.rows[PATIENT_ID].drop_duplicates() for part in judged])
    return split == TEST and patients.is_unique


def side_by_side(judged: list[Judged]) -> Judged:
    """The rows of all parts, each at its own threshold and ranked among its own."""
    rows = pd.concat([part.rows.assign(**{FOLD: number}) for number, part in enumerate(judged)], ignore_index=True)
    reason = "each outer part has a calibration of its own"
    return Judged(rows, replace(sample_of(rows), threshold=thresholds(judged)), None, reason)


def thresholds(judged: list[Judged]) -> Array | None:
    """(n,) of each row; None where a part has none."""
    own = [part.sample.threshold for part in judged]
    if any(threshold is None for threshold in own):
        return None
    return np.repeat(np.array(own, dtype=float), [len(part.rows) for part in judged])


def shared(judged: list[Judged]) -> Shared:
    """The same patients in every repeat; drawn without strata of folds, since a patient is in another one each time."""
    union = sample_of(pd.concat([part.rows.assign(**{FOLD: 0}) for part in judged], ignore_index=True))
    ends = np.cumsum([len(part.rows) for part in judged])
    rows = np.split(np.arange(ends[-1]), ends[:-1])
    return Shared(union, [part.sample for part in judged], rows)


def models_of(parts: Parts) -> pd.DataFrame:
    """A row a part and figure, its folds taken together."""
    rows = []
    for name, part in parts.items():
        split, level = part.headline
        own = {SEED: part.models[SEED].min(), FOLD: name}
        rows += [own | {"metric": metric, **part.metrics[split][level][metric]} for metric in SHOWN]
    return pd.DataFrame(rows)
