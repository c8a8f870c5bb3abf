"""Scans that failed: figures by intention to diagnose, and the flow from the label table to the evaluated patients.

A study that leaves out the scans it could not read reports the accuracy of a test that always works. Scans are excluded
before patients are divided, so the share of each class with a usable scan is that of the whole cohort. A figure by
intention to diagnose is the figure among usable scans times that share: who has none is counted as wrong. The shares
themselves say how often there is no result, for readers who count it as indeterminate (3 x 2 tables: Schuetz et al.,
BMJ 2012;345:e6717).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.columns import LABEL, LABEL_SEPARATOR, PATIENT_ID, SCAN_ID, SPLIT
from pipeline.evaluation.ensembling import PATIENT, SCAN
from pipeline.evaluation.evaluate import Metrics
from pipeline.evaluation.multilabel import EXACT_MATCH
from pipeline.evaluation.registry import INTENDED, USABLE
from pipeline.evaluation.settings import MULTILABEL, Settings
from pipeline.evaluation.uncertainty.estimates import Entry
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS
from pipeline.evaluation.uncertainty.shares import ShareEstimate, estimate_share

Json = Mapping[str, Any]
Part = tuple[str | None, bool]
"""A class, and whether it is shown or absent; no class for everybody."""
EVERYBODY: Part = (None, True)
UsableShares = Mapping[Part, ShareEstimate]
FLOW_COLUMNS = ["step", SPLIT, "scans", "patients"]


def with_intended(
    metrics: Metrics, cohort: pd.DataFrame, ingest: Json, classes: Sequence[str], settings: Settings
) -> Metrics:
    """The metrics with the share of usable scans and the figures by intention to diagnose, in every split and level."""
    figures, usable = intended_figures(classes, settings), usable_by_level(cohort, ingest, classes, settings)
    return {
        split: {
            level: entries | intended_entries(entries, usable[level], classes, figures)
            for level, entries in levels.items()
        }
        for split, levels in metrics.items()
    }


def usable_by_level(
    cohort: pd.DataFrame, ingest: Json, classes: Sequence[str], settings: Settings
) -> dict[str, UsableShares | str]:
    """At both levels the share of usable scans, or of patients with one; or why it is unknown."""
    intended = intended_scans(cohort, ingest)
    if isinstance(intended, str):
        return dict.fromkeys((SCAN, PATIENT), intended)
    keys = {EVERYBODY, *((name, True) for name in classes), *intended_figures(classes, settings).values()}
    return {
        level: {key: usable_share(units, *key, settings.confidence) for key in keys}
        for level, units in ((SCAN, intended), (PATIENT, patients_of(intended)))
    }


def intended_scans(cohort: pd.DataFrame, ingest: Json) -> pd.DataFrame | str:
    """Every scan of the label table with its patient, label, and whether it is `usable`; or why that is unknown."""
    failed = pd.DataFrame(ingest.get("excluded", []), columns=[SCAN_ID, PATIENT_ID, LABEL])
    if failed[LABEL].isna().any():
        return "ingest.json does not name the labels of excluded scans; run 'dvc repro ingest' again"
    scans = pd.concat([cohort[[SCAN_ID, PATIENT_ID, LABEL]].assign(usable=True), failed.assign(usable=False)])
    return scans.reset_index(drop=True)


def intended_entries(
    entries: Mapping[str, Entry],
    usable: UsableShares | str,
    classes: Sequence[str],
    figures: Mapping[str, Part],
) -> dict[str, Entry]:
    """Of one split at one level, the shares of usable scans first."""
    shares = {USABLE: EVERYBODY} | {f"{USABLE}_{name}": (name, True) for name in classes}
    known = {name: part for name, part in figures.items() if name in entries}
    if isinstance(usable, str):
        empty = Entry(value=None, low=None, high=None, num_patients=0, reason=usable)
        return dict.fromkeys([*shares, *(INTENDED + name for name in known)], empty)
    return {name: share_entry(usable[part]) for name, part in shares.items()} | {
        INTENDED + name: intended_entry(entries[name], usable[part]) for name, part in known.items()
    }


def intended_figures(classes: Sequence[str], settings: Settings) -> dict[str, Part]:
    """By metric, the part of the cohort that it is about, whose share of usable scans it is multiplied with."""
    if settings.task == MULTILABEL:
        shown = {f"sensitivity_{name}": (name, True) for name in classes}
        return {EXACT_MATCH: EVERYBODY} | shown | {f"specificity_{name}": (name, False) for name in classes}
    if len(classes) == 2:
        return {"accuracy": EVERYBODY, "sensitivity": (classes[1], True), "specificity": (classes[0], True)}
    return {"accuracy": EVERYBODY} | {f"sensitivity_{name}": (name, True) for name in classes}


def patients_of(intended: pd.DataFrame) -> pd.DataFrame:
    """One row per patient and label, usable where any of its scans is."""
    return intended.groupby([PATIENT_ID, LABEL], sort=False)["usable"].any().reset_index()


def usable_share(units: pd.DataFrame, name: str | None, is_shown: bool, confidence: float) -> ShareEstimate:
    """Share of usable units among all, or among those that show the class, or do not."""
    among = np.ones(len(units), dtype=bool)
    if name is not None:
        shows = units[LABEL].map(lambda label: name in label.split(LABEL_SEPARATOR))
        among = (shows == is_shown).to_numpy(dtype=bool)
    return estimate_share(units["usable"].to_numpy(dtype=bool), among, pd.factorize(units[PATIENT_ID])[0], confidence)


def share_entry(share: ShareEstimate) -> Entry:
    if share.num_patients < FEWEST_PATIENTS:
        reason = f"a share of {share.num_patients} patients, an interval needs {FEWEST_PATIENTS}"
        value = share.value if share.num_patients else None
        return Entry(value=value, low=None, high=None, num_patients=share.num_patients, reason=reason)
    return Entry(value=share.value, low=share.low, high=share.high, num_patients=share.num_patients, reason=None)


def intended_entry(entry: Entry, usable: ShareEstimate) -> Entry:
    """The product of a figure among usable scans and their share.

    Its interval combines both (method of variance estimates recovery, as in `shares`): they come from different
    patients but for those of the test set, where the share says nothing about the figure.
    """
    if entry["value"] is None or usable.num_patients == 0:
        return entry | {
            "value": None,
            "low": None,
            "high": None,
            "reason": entry["reason"] or "no patients of the class",
        }
    value = entry["value"] * usable.value
    if entry["low"] is None:
        return entry | {"value": value}
    low, high = (
        reach(usable.value * (entry["value"] - entry[end]), entry["value"] * (usable.value - bound))
        for end, bound in (("low", usable.low), ("high", usable.high))
    )
    return entry | {"value": value, "low": max(0.0, value - low), "high": min(1.0, value + high)}


def reach(*parts: float) -> float:
    return float(np.hypot(*parts))


def participant_flow(ingest: Json, splits: pd.DataFrame | None, predictions: pd.DataFrame) -> pd.DataFrame:
    """Scans and patients at each step from the label table to the evaluated ones; `split` is empty before it."""
    failed = pd.DataFrame(ingest.get("excluded", []), columns=[SCAN_ID, PATIENT_ID])
    rows = [(entry["step"], "", entry["scans"], entry["patients"]) for entry in ingest.get("flow", [])]
    if splits is not None:
        never = failed[~failed[PATIENT_ID].isin(splits[PATIENT_ID])]
        rows.append(("excluded: patients without any usable scan", "", *counts(never)))
        for split, part in splits.groupby(SPLIT):
            rows.append(("divided", split, *counts(part)))
            rows.append(
                (
                    "excluded: other scans of these patients",
                    split,
                    *counts(failed[failed[PATIENT_ID].isin(part[PATIENT_ID])]),
                )
            )
    rows += [("evaluated", split, *counts(part)) for split, part in predictions.groupby(SPLIT)]
    return pd.DataFrame(rows, columns=FLOW_COLUMNS)


def counts(rows: pd.DataFrame) -> tuple[int, int]:
    """Scans and patients."""
    return rows[SCAN_ID].nunique(), rows[PATIENT_ID].nunique()
