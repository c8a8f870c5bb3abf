"""Continuing a split: when scans are added, patients that have a place keep it.

No rule can be both optimally balanced and independent of who comes later, so the earlier splits.csv is read, and
continued where it was made under the same settings. Its column `settings` says under which; dvc.yaml keeps the file
(`persist: true`) where it would otherwise remove it before the stage starts.
"""

import hashlib
import json

import pandas as pd

from pipeline.config import Columns, Split
from pipeline.core.columns import PATIENT_ID, SPLIT

SETTINGS = "settings"
NO_EFFECT_ON_PLACES = {"accepted_leaks", "pretraining_patients", "statistics_patients"}
"""Settings of the leak gate."""

Place = tuple[str, int | None]
"""(split, fold)."""


def settings_digest(columns: Columns, settings: Split) -> str:
    """Eight characters that change with every setting that decides who goes where.

    A setting at its default leaves no mark, so that settings that come later leave earlier splits as they are.
    """
    roles = columns.model_dump(include={"label", "patient_id", "group", "site", "date", "split"})
    content = json.dumps(
        [roles, settings.model_dump(exclude=NO_EFFECT_ON_PLACES, exclude_defaults=True)], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def is_continued(previous: pd.DataFrame | None, digest: str) -> bool:
    """Were these splits made under the settings of `digest`?"""
    return previous is not None and SETTINGS in previous and bool((previous[SETTINGS] == digest).all())


def earlier_places(previous: pd.DataFrame, column: str, table: pd.DataFrame, groups: pd.Series) -> dict[str, Place]:
    """The (split, fold) that each group has in `column` of the previous splits, where one of its patients has one.

    Raises ValueError where patients that are now one group were placed apart.
    """
    patients = previous[[PATIENT_ID, SPLIT, column]].drop_duplicates()
    group_of = pd.Series(groups.to_numpy(), index=table[PATIENT_ID].to_numpy())
    group_of = group_of[~group_of.index.duplicated()]
    patients = patients.assign(group=patients[PATIENT_ID].map(group_of)).dropna(subset=["group"])
    places: dict[str, Place] = {}
    for group, patient, split, fold in patients[["group", PATIENT_ID, SPLIT, column]].itertuples(index=False):
        place = (split, None if pd.isna(fold) else int(fold))
        if places.setdefault(group, place) != place:
            raise ValueError(
                f"splits.csv: patients '{group}' and '{patient}' are one group now but were placed in {places[group]} "
                f"and {place}, expected one place; delete splits.csv to divide all patients anew."
            )
    return places
