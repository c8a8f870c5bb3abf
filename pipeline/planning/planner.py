"""Plan a cohort: measure its development scans, apply the rules, keep lines that were edited by hand."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Cohort, Intensity, Plan, ReferenceRanges
from pipeline.config.load import read_mapping
from pipeline.config.plan import num_channels
from pipeline.config.transform_spec import TransformSpec
from pipeline.config.validate import validate
from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID, SPLIT, TEST, TRAIN
from pipeline.core.folds import fold_numbers, is_development, rows_of_fold
from pipeline.imaging.geometry import anatomical_axes
from pipeline.planning.cost import CPU, Machine, Workload, estimate_cost
from pipeline.planning.fingerprint import (
    Geometry,
    Voxels,
    choose_scans,
    measure_voxels,
    read_geometry,
    read_ranges,
)
from pipeline.planning.plan_file import Decision, Decisions, add_digests, find_overrides
from pipeline.planning.preprocessing_rules import (
    check_modality,
    covered_extent_mm,
    plan_crop,
    plan_intensity,
    plan_orientation,
    plan_spacing_and_size,
)
from pipeline.planning.training_rules import (
    plan_accumulation,
    plan_augmentation,
    plan_batch,
    plan_length,
    plan_length_origin,
    plan_members,
    plan_model,
    plan_patience,
    plan_stem,
    plan_time_budget,
)

CONFIGURABLE = ("orientation", "spacing_mm", "size_voxels", "crop", "tilt", "bias_correction", "intensity")
"""Lines that a cohort's `preprocess` section may set."""
SHOWN = 5
"""Scans named in an error."""


def replan(
    cohort: Cohort, table: pd.DataFrame, splits: pd.DataFrame, raw: Path, plan_file: Path, machine: Machine
) -> Plan:
    """Plan a cohort; lines that were edited by hand in `plan_file`, which may not exist yet, are kept.

    Raises ValueError if edited lines were written from measurements of scans that are test scans now.
    """
    as_planned = make_plan(cohort, table, splits, raw, machine)
    if not plan_file.exists():
        return add_digests(as_planned, as_planned, overrides=())
    previous = _read_partial_plan(plan_file, as_planned)
    configured = configured_decisions(cohort)
    overrides = {key: value for key, value in find_overrides(previous).items() if key not in configured}
    if not overrides:
        return add_digests(as_planned, as_planned, overrides=())
    check_measured_scans(previous.measured, overrides, splits, plan_file)
    return add_digests(make_plan(cohort, table, splits, raw, machine, overrides), as_planned, overrides)


def _read_partial_plan(path: Path, as_planned: Plan) -> Plan:
    """A plan file from which lines may have been deleted: those are as planned, and not counted as set."""
    content = read_mapping(path)
    plan = validate(Plan, {**as_planned.model_dump(mode="json"), **content}, where=str(path), is_record=True)
    return Plan.model_construct(_fields_set=set(content), **dict(plan))


def check_measured_scans(
    measured: Collection[str], overrides: Mapping[str, Any], splits: pd.DataFrame, path: Path
) -> None:
    """Raise ValueError if an edited plan was measured on scans that are in the locked test set now."""
    test = sorted(set(splits[SCAN_ID][splits[SPLIT] == TEST]) & set(measured))
    if test:
        more = f" and {len(test) - SHOWN} more" if len(test) > SHOWN else ""
        raise ValueError(
            f"{path}: {', '.join(overrides)} edited by hand in a plan that was measured on scans of the test set, got "
            f"{', '.join(test[:SHOWN])}{more}, expected development scans only; delete {path.name}, or delete the "
            "edited lines in it, to plan from the current development scans."
        )


def make_plan(
    cohort: Cohort,
    table: pd.DataFrame,
    splits: pd.DataFrame,
    raw: Path,
    machine: Machine = CPU,
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Plan a cohort from the rows of cohort.csv and splits.csv and its scans below `raw`.

    `overrides` are values that were edited by hand in an earlier plan. Raises ValueError if `auto` would be a guess:
    for a modality that the voxels contradict, or a body that is too large for the machine.
    """
    edited = {key: Decision(value, "edited by hand") for key, value in (overrides or {}).items()}
    fixed = edited | configured_decisions(cohort)
    intensity, to_mask = intensity_of(cohort, fixed).value, "crop" in fixed and fixed["crop"].value == "mask"
    fingerprint = take_fingerprint(table, splits, raw, intensity, cohort.ingest.fill_nonfinite, to_mask)
    if "intensity" not in fixed:
        check_modality(cohort.modality, fingerprint.voxels)
    decisions = make_decisions(cohort, fingerprint, machine, fixed)
    return Plan(
        **{key: decision.value for key, decision in decisions.items()},
        reference=fingerprint.ranges,
        measured=tuple(sorted(voxels.scan_id for voxels in fingerprint.voxels)),
        reasons={key: decision.reason for key, decision in decisions.items()},
    )


def configured_decisions(cohort: Cohort) -> Decisions:
    """What the cohort's config sets."""
    values = {key: getattr(cohort.preprocess, key) for key in CONFIGURABLE}
    return {
        key: Decision(value, f"set in the config of {cohort.name}")
        for key, value in values.items()
        if value != "auto" and key in cohort.preprocess.model_fields_set
    }


@dataclass(frozen=True)
class Fingerprint:
    """What the rules know about a cohort: counts, geometry of all development scans, voxels of a few."""

    num_files: int
    """Scans of the whole cohort, which preprocessing stores."""
    num_scans: int
    """Training scans of the first fold."""
    num_patients: int
    """Training patients of the first fold."""
    geometry: Geometry
    voxels: list[Voxels]
    ranges: ReferenceRanges | None


def take_fingerprint(
    table: pd.DataFrame, splits: pd.DataFrame, raw: Path, intensity: Intensity, fill: float | None, to_mask: bool
) -> Fingerprint:
    """Headers of all development scans from cohort.csv, voxels of at most thirty.

    A nested split locks no scans away: its one plan follows from the geometry and intensity of every scan.
    """
    development = splits[is_development(splits)]
    rows = table[table[SCAN_ID].isin(development[SCAN_ID])].drop(columns=LABEL)
    if rows.empty:
        raise ValueError("splits.csv: no development scans to plan from; run 'dvc repro split'.")
    train = rows_of_fold(splits, fold_numbers(splits)[0])[TRAIN]
    return Fingerprint(
        num_files=len(table),
        num_scans=len(train),
        num_patients=train[PATIENT_ID].nunique(),
        geometry=read_geometry(rows),
        voxels=measure_voxels(choose_scans(rows), raw, intensity, fill, to_mask),
        ranges=read_ranges(rows),
    )


def make_decisions(cohort: Cohort, fingerprint: Fingerprint, machine: Machine, fixed: Decisions) -> dict[str, Decision]:
    """Every line of the plan, each after those that it builds on. `fixed` are decisions that the rules must keep."""
    decisions = decide_preprocessing(cohort, fingerprint, machine, fixed)
    num_voxels = int(np.prod(decisions["size_voxels"].value))
    scans, patients = fingerprint.num_scans, fingerprint.num_patients

    def decide(key: str, rule: Callable[..., Decision], *facts: object) -> Any:
        decisions[key] = fixed.get(key) or rule(*facts)
        return decisions[key].value

    batch_size = decide("batch_size", plan_batch, patients, num_voxels, machine)
    decide("accumulate", plan_accumulation, batch_size)
    max_epochs = decide("max_epochs", plan_length, scans, batch_size, num_voxels, machine)
    if "max_epochs" in fixed:
        decisions["max_epochs_from"] = Decision("user", "max_epochs is edited by hand")
    else:
        decide("max_epochs_from", plan_length_origin, scans, batch_size, num_voxels, machine)
    decide("patience", plan_patience, max_epochs)
    decide("stem_stride", plan_stem, decisions["size_voxels"].value, decisions["spacing_mm"].value)
    budget = decide("time_budget_hours", plan_time_budget)
    members = decide("members", plan_members, cohort.modality, fingerprint.num_files, num_voxels, budget, machine)
    decide("model", plan_model, patients, decisions["spacing_mm"].value, members, machine)
    decide("augmentation", plan_augmentation, patients)
    work = Workload(
        num_files=fingerprint.num_files,
        num_channels=num_channels(decisions["channels"].value, decisions["missing_channel"].value),
        num_scans=scans,
        **{key: decisions[key].value for key in ("model", "size_voxels", "stem_stride", "batch_size", "max_epochs")},
    )
    decisions["cost_estimate"] = estimate_cost(work, machine)
    return decisions


def decide_preprocessing(
    cohort: Cohort, fingerprint: Fingerprint, machine: Machine, fixed: Decisions
) -> dict[str, Decision]:
    """The lines that turn a scan into the network's input."""
    orientation = fixed.get("orientation") or plan_orientation(fingerprint.geometry)
    geometry = fingerprint.geometry.along(orientation.value)
    order = anatomical_axes(orientation.value)
    body_mm = np.array([voxels.body_mm[order] for voxels in fingerprint.voxels])
    crop = fixed.get("crop") or plan_crop(geometry, body_mm)
    extent_mm = covered_extent_mm(crop.value, geometry, body_mm)
    spacing, size = plan_spacing_and_size(extent_mm, geometry, cohort.preprocess.max_voxels, machine, fixed)
    return {
        "orientation": orientation,
        "spacing_mm": spacing,
        "size_voxels": size,
        "crop": crop,
        "tilt": fixed.get("tilt") or Decision("keep", "a tilted stack keeps its own slices"),
        "bias_correction": fixed.get("bias_correction") or Decision("none", "off by default"),
        "intensity": intensity_of(cohort, fixed),
        "fill_nonfinite": fixed.get("fill_nonfinite") or fill_of(cohort),
        "spacing_range_mm": Decision(cohort.ingest.spacing_range_mm, f"ingest.spacing_range_mm of {cohort.name}"),
        **channels_of(cohort),
        "extra": extra_of(cohort),
    }


def intensity_of(cohort: Cohort, fixed: Decisions) -> Decision[Intensity]:
    return fixed.get("intensity") or plan_intensity(cohort.modality)


def fill_of(cohort: Cohort) -> Decision[float | None]:
    if cohort.ingest.fill_nonfinite is None:
        return Decision(None, "scans with NaN or infinite voxels are rejected")
    return Decision(cohort.ingest.fill_nonfinite, f"ingest.fill_nonfinite of {cohort.name}")


def extra_of(cohort: Cohort) -> Decision[tuple[TransformSpec, ...]]:
    """Transforms that the cohort adds: a fact about its config, not meant for editing."""
    specs = cohort.preprocess.extra
    return Decision(specs, f"preprocess.extra of {cohort.name}" if specs else "none by default")


def channels_of(cohort: Cohort) -> dict[str, Decision]:
    """The files of a scan: a fact about the table, not meant for editing."""
    names, policy = cohort.columns.channels, cohort.ingest.missing_channel
    return {
        "channels": Decision(names, f"columns.channels of {cohort.name}" if names else "one file per scan"),
        "missing_channel": Decision(policy, f"ingest.missing_channel of {cohort.name}"),
    }
