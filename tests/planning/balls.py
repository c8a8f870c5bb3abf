"""Cohorts of balls in empty space, to plan for."""

import nibabel
import numpy as np
import pandas as pd
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from pipeline.config import Cohort, Ingest, Preprocess
from pipeline.imaging.validation import check_scan
from pipeline.imaging.value_range import as_columns


def write_ball(path, shape=(30, 36, 28), spacing=(2.0, 2.0, 2.0), orientation="RAS", radius_mm=20.0, kind="MR"):
    """A ball in empty space whose shape and spacing are along R, A, S, saved in an orientation."""
    points = np.stack(
        np.meshgrid(*((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij")
    )
    inside = (points**2).sum(0) < radius_mm**2
    noise = np.random.default_rng(0).normal(0, 20, shape)
    volume = {
        "MR": np.where(inside, 500 + noise, 0),
        "CT": np.where(inside, 40 + noise, -1000),
        "mask": inside,
    }[kind].astype(np.int16)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    affine = np.diag([*spacing, 1.0]) @ inv_ornt_aff(turn, shape)
    nibabel.save(nibabel.Nifti1Image(nibabel.apply_orientation(volume, turn), affine), path)


def make_table(folder, scans):
    """Rows of cohort.csv and splits.csv for (scan options, split) pairs; every scan is a patient."""
    rows, splits = [], []
    for number, (options, split) in enumerate(scans):
        write_ball(folder / f"S{number}.nii.gz", **options)
        facts = check_scan(folder / f"S{number}.nii.gz").facts
        rows.append(
            {
                "scan_id": f"S{number}",
                "patient_id": f"P{number}",
                "path": f"S{number}.nii.gz",
                "label": "ab"[number % 2],
                "shape": "x".join(map(str, facts.shape)),
                "spacing_mm": "x".join(f"{size:.6g}" for size in facts.spacing_mm),
                "orientation": facts.orientation,
                **as_columns(facts.values),
            }
        )
        splits.append(
            {
                "scan_id": f"S{number}",
                "patient_id": f"P{number}",
                "split": split,
                "fold": None if split == "test" else number % 2,
            }
        )
    return pd.DataFrame(rows), pd.DataFrame(splits).astype({"fold": "Int64"})


def make_cohort(modality="MR", ingest=None, **preprocess):
    return Cohort(
        name="balls",
        source={"kind": "folder", "scans": ".", "table": "labels.csv"},
        positive_class="b",
        modality=modality,
        laterality="irrelevant",
        ingest=ingest or Ingest(),
        preprocess=Preprocess(**preprocess),
    )


DEVELOPMENT = [({}, "development")] * 4
