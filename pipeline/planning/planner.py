"""Make plan.yaml from measurements of the development scans; edited lines are kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import Cohort, Intensity, Plan
from pipeline.config.load import check_file
from pipeline.config.plan import EDITED, num_channels
from pipeline.core.columns import LABEL, PATIENT_ID, SCAN_ID, TRAIN
from pipeline.core.folds import fold_numbers, is_development, rows_of_fold
from pipeline.planning.fingerprint import (
    Geometry,
    Voxels,
    anatomical_axes,
    choose_scans,
    measure_voxels,
    read_geometry,
)
from pipeline.planning.plan_file import edits_of, mark
from pipeline.planning.rules import (
    CPU,
    MARGIN,
    Because,
    Machine,
    Work,
    check_modality,
    coarsen,
    forecast,
    plan_accumulation,
    plan_augmentation,
    plan_batch,
    plan_crop,
    plan_intensity,
    plan_length,
    plan_model,
    plan_orientation,
    plan_patience,
    plan_spacing,
    plan_stem,
    size_of,
)

PREPARATION = ("orientation", "spacing_mm", "size_voxels", "crop", "tilt", "bias_correction", "intensity")
"""Lines that a cohort's `preprocess` section may decide."""
Fixed = Mapping[str, Because]
"""Lines that are not for the rules to decide, with who decided."""


@dataclass(frozen=True)
class Fingerprint:
    """What planning knows of a cohort: counts, geometry of all development scans, voxels of a few."""

    num_files: int
    """Scans of the whole cohort, which will lie on disk."""
    num_scans: int
    """Training scans of the first fold."""
    num_patients: int
    """Training patients of the first fold."""
    geometry: Geometry
    voxels: list[Voxels]


def make_plan(
    cohort: Cohort,
    table: pd.DataFrame,
    splits: pd.DataFrame,
    raw: Path,
    machine: Machine = CPU,
    edits: Mapping[str, object] | None = None,
) -> Plan:
    """Plan a cohort from the rows of cohort.csv and splits.csv and its scans below `raw`.

    `edits` are lines that were changed by hand in an earlier plan. Raises ValueError where `auto` would be a guess:
    a modality that the voxels contradict, or a body too large for the machine.
    """
    fixed = {key: Because(value, EDITED) for key, value in (edits or {}).items()}
    fixed |= configured(cohort)
    intensity, to_mask = intensity_of(cohort, fixed).value, "crop" in fixed and fixed["crop"].value == "mask"
    fingerprint = take_fingerprint(table, splits, raw, intensity, cohort.ingest.fill_nonfinite, to_mask)
    if "intensity" not in fixed:
        check_modality(cohort.modality, fingerprint.voxels)
    lines = decide(cohort, fingerprint, machine, fixed)
    return Plan(
        **{key: line.value for key, line in lines.items()},
        measured=tuple(sorted(voxels.scan_id for voxels in fingerprint.voxels)),
        reasons={key: line.reason for key, line in lines.items()},
    )


def configured(cohort: Cohort) -> Fixed:
    """What the cohort's config says itself."""
    chosen = {key: getattr(cohort.preprocess, key) for key in PREPARATION}
    return {
        key: Because(value, f"set in the config of {cohort.name}")
        for key, value in chosen.items()
        if value != "auto" and key in cohort.preprocess.model_fields_set
    }


def take_fingerprint(
    table: pd.DataFrame, splits: pd.DataFrame, raw: Path, intensity: Intensity, fill: float | None, to_mask: bool
) -> Fingerprint:
    """Headers of all development scans from cohort.csv, voxels of at most thirty.

    A nested division locks no scans away: there the geometry and intensity of every scan go into the one plan.
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
    )


def intensity_of(cohort: Cohort, fixed: Fixed) -> Because[Intensity]:
    return fixed.get("intensity") or plan_intensity(cohort.modality)


def decide(cohort: Cohort, fingerprint: Fingerprint, machine: Machine, fixed: Fixed) -> dict[str, Because]:
    """Every line of the plan, in the order in which each builds on those before."""
    lines = prepare(cohort, fingerprint, machine, fixed)
    num_voxels = int(np.prod(lines["size_voxels"].value))
    scans, patients = fingerprint.num_scans, fingerprint.num_patients

    def settle(key: str, rule: Callable[..., Because], *facts: object) -> object:
        lines[key] = fixed.get(key) or rule(*facts)
        return lines[key].value

    batch_size = settle("batch_size", plan_batch, patients, num_voxels, machine)
    settle("accumulate", plan_accumulation, batch_size)
    max_epochs = settle("max_epochs", plan_length, scans, batch_size, num_voxels, machine)
    settle("patience", plan_patience, max_epochs)
    settle("stem_stride", plan_stem, lines["size_voxels"].value, lines["spacing_mm"].value)
    settle("model", plan_model, patients, lines["spacing_mm"].value)
    settle("augmentation", plan_augmentation, patients)
    work = Work(
        num_files=fingerprint.num_files,
        num_channels=num_channels(lines["channels"].value, lines["missing_channel"].value),
        num_scans=scans,
        **{key: lines[key].value for key in ("model", "size_voxels", "stem_stride", "batch_size", "max_epochs")},
    )
    lines["forecast"] = forecast(work, machine)
    return lines


def prepare(cohort: Cohort, fingerprint: Fingerprint, machine: Machine, fixed: Fixed) -> dict[str, Because]:
    """The lines that make a scan into the network's input."""
    orientation = fixed.get("orientation") or plan_orientation(fingerprint.geometry)
    geometry = fingerprint.geometry.along(orientation.value)
    order = anatomical_axes(orientation.value)
    body_mm = np.array([voxels.body_mm[order] for voxels in fingerprint.voxels])
    crop = fixed.get("crop") or plan_crop(geometry, body_mm)
    extent_mm = covered_mm(crop.value, geometry, body_mm)
    spacing, size = fit(extent_mm, plan_spacing(geometry), cohort.preprocess.max_voxels, machine, fixed)
    return {
        "orientation": orientation,
        "spacing_mm": spacing,
        "size_voxels": size,
        "crop": crop,
        "tilt": fixed.get("tilt") or Because("keep", "a tilted stack keeps its own slices"),
        "bias_correction": fixed.get("bias_correction") or Because("none", "off unless asked for"),
        "intensity": intensity_of(cohort, fixed),
        "fill_nonfinite": fixed.get("fill_nonfinite") or fill_of(cohort),
        **channels_of(cohort),
    }


def channels_of(cohort: Cohort) -> dict[str, Because]:
    """What a scan's files are; a fact of the table, not for editing."""
    names, policy = cohort.columns.channels, cohort.ingest.missing_channel
    return {
        "channels": Because(names, f"columns.channels of {cohort.name}" if names else "one file a scan"),
        "missing_channel": Because(policy, f"ingest.missing_channel of {cohort.name}"),
    }


def fill_of(cohort: Cohort) -> Because[float | None]:
    if cohort.ingest.fill_nonfinite is None:
        return Because(None, "scans with NaN or infinite voxels are refused")
    return Because(cohort.ingest.fill_nonfinite, f"ingest.fill_nonfinite of {cohort.name}")


def covered_mm(crop: str, geometry: Geometry, body_mm: np.ndarray) -> np.ndarray:
    """The extent (3,) that the input should cover: nearly all bodies with a margin, or nearly all scans."""
    if crop in ("foreground", "mask"):
        return np.minimum(MARGIN * np.percentile(body_mm, 95, axis=0), geometry.extent_mm.max(axis=0))
    return np.percentile(geometry.extent_mm, 95, axis=0)


def fit(
    extent_mm: np.ndarray, spacing: Because[np.ndarray], max_voxels: int | str, machine: Machine, fixed: Fixed
) -> tuple[Because[tuple[float, ...]], Because[tuple[int, ...]]]:
    """Spacing and size that cover the extent within what the machine can do.

    Raises ValueError where that asks for voxels too coarse.
    """
    given_size = fixed.get("size_voxels")
    wanted, most = (machine.comfortable_voxels, machine.most_voxels) if max_voxels == "auto" else (max_voxels,) * 2
    if "spacing_mm" in fixed:
        spacing = Because(np.array(fixed["spacing_mm"].value), fixed["spacing_mm"].reason)
    elif given_size:
        spacing = coarsen(spacing, lambda raised: (raised * given_size.value >= extent_mm).all(), "the given size")
    else:
        spacing = coarsen(
            spacing, lambda raised: size_of(extent_mm, raised).prod() <= wanted, f"{wanted:,} voxels ({machine.kind})"
        )
    size = given_size or cover(extent_mm, spacing.value, most)
    return (
        Because(tuple(float(mm) for mm in spacing.value), spacing.reason),
        Because(tuple(int(voxels) for voxels in size.value), size.reason),
    )


def cover(extent_mm: np.ndarray, spacing: np.ndarray, most: int) -> Because[np.ndarray]:
    """The size that covers an extent."""
    size = size_of(extent_mm, spacing)
    extent = " x ".join(f"{mm:.0f}" for mm in extent_mm)
    if size.prod() > most:
        raise ValueError(
            f"preprocess.size_voxels: auto cannot cover {extent} mm at {' x '.join(f'{mm:g}' for mm in spacing)} mm, "
            f"got {size.prod():,} voxels, expected at most {most:,}; name a region by size_voxels, or accept coarser "
            f"voxels by spacing_mm, such as {1.1 * (extent_mm.prod() / most) ** (1 / 3):.1f}, or raise max_voxels."
        )
    return Because(size, f"covers {extent} mm, the 95th percentile of development scans; smaller ones are padded")


def replan(
    cohort: Cohort, table: pd.DataFrame, splits: pd.DataFrame, raw: Path, earlier: Path, machine: Machine
) -> Plan:
    """The plan of a cohort with the edits of the plan in the file `earlier`, which need not exist."""
    as_planned = make_plan(cohort, table, splits, raw, machine)
    if not earlier.exists():
        return mark(as_planned, as_planned, edited={})
    before = check_file(Plan, earlier)
    edited = {key: value for key, value in edits_of(before).items() if key not in configured(cohort)}
    if not edited:
        return mark(as_planned, as_planned, edited={})
    return mark(make_plan(cohort, table, splits, raw, machine, edits=edited), as_planned, edited)
