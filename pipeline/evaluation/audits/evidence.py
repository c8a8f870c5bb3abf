"""The tables that audits look at, brought to one row a patient."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from pipeline.core.columns import (
    CHANGE,
    FOLD,
    LABEL,
    MASKED,
    PATIENT_ID,
    REACQUIRED,
    SCAN_ID,
    SEED,
    SPLIT,
    TRAIN,
    UNCHANGED,
)
from pipeline.core.io import one_line
from pipeline.core.paths import TrainingKey
from pipeline.evaluation.audits.layer_probes import FoldEmbeddings
from pipeline.evaluation.audits.null_models import NUM_SHUFFLES, Shuffled
from pipeline.evaluation.audits.shortcut import ShortcutContext
from pipeline.evaluation.baselines import features_of
from pipeline.evaluation.covariates import Covariates
from pipeline.evaluation.cv_design import PART, partitions_of, patient_partitions
from pipeline.evaluation.metrics.calibration import logit
from pipeline.evaluation.predictions import class_names, prob_columns
from pipeline.evaluation.sample import Array


@dataclass(frozen=True)
class Evidence:
    """All that is known of one experiment on one cohort."""

    predictions: pd.DataFrame
    """Checked, of all trained folds."""
    covariates: Covariates
    """With splits."""
    summaries: Mapping[str, pd.DataFrame]
    """Simple features of every scan in splits.csv, by scan; no label took part in them."""
    embeddings: Mapping[TrainingKey, Mapping[str, Array]]
    """By training: `scan_id` (m,) and the stages, (m, F) each."""
    changes: pd.DataFrame
    """changes.csv: predictions of some scans under changes …"""
    changes_key: TrainingKey = TrainingKey(fold=0, seed=0)
    """… by the network of this training."""
    file_bytes: pd.Series | None = None
    """Size of each scan's file, by scan."""
    classes: pd.Series | None = None
    """Labels by patient, before several classes became one and the rest; None where there are two."""

    @property
    def positive(self) -> str:
        """The last class, which is the positive one of two."""
        return class_names(self.predictions)[-1]

    @property
    def held_out(self) -> pd.DataFrame:
        """Predictions of scans that were not trained on."""
        return self.predictions[self.predictions[SPLIT] != TRAIN]


def read_embeddings(path: Path) -> dict[str, Array]:
    """The arrays of one fold's file; FileNotFoundError if it is missing."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: not whole, {one_line(error)}; 'python -m pipeline.predict' writes it again."
        ) from None


def shortcut_table(
    evidence: Evidence, predicted: pd.DataFrame, num_shuffles: int = NUM_SHUFFLES, seed: int = 0
) -> tuple[pd.DataFrame, dict[str, Array], ShortcutContext]:
    """What `audit_shortcut` takes: a row a patient of splits.csv, what the fits to shuffled labels reach, and the rest.

    `predicted` has the patients that were not trained on.
    """
    shuffled = Shuffled.of(evidence.covariates.splits, evidence.positive, num_shuffles, seed)
    features = acquisition_features(evidence)
    scores = {name: shuffled.scores(own) for name, own in features.items()}
    refitted = {name: shuffled.aurocs(found)[1:] for name, found in scores.items()}
    masked = evidence.changes[evidence.changes[CHANGE] == MASKED].set_index(PATIENT_ID)
    table = pd.DataFrame(
        {
            "is_positive": shuffled.labels[:, 0],
            "class": patient_classes(evidence).reindex(shuffled.patients).to_numpy(),
            "part": shuffled.parts,
            "kind": kinds(evidence).reindex(shuffled.patients),
            "acquisition": scores["acquisition"][:, 0] if "acquisition" in scores else np.nan,
            "file_size": scores["file_size"][:, 0] if "file_size" in scores else np.nan,
            "logit": logits(predicted.set_index(PATIENT_ID)).reindex(shuffled.patients),
            "masked": logits(masked).reindex(shuffled.patients),
        },
        index=shuffled.patients,
    )
    return table, refitted, shortcut_context(evidence, features.get("acquisition"))


def patient_classes(evidence: Evidence) -> pd.Series:
    """Labels by patient, as the cohort has them."""
    if evidence.classes is not None:
        return evidence.classes
    return evidence.covariates.splits.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[LABEL]


def acquisition_features(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """By score, what is known of how each patient's scans were made, and of their files."""
    found, columns = {}, evidence.covariates.predictors["acquisition"]
    if columns:
        found["acquisition"] = features_of(evidence.covariates.cohort, columns)
    if evidence.file_bytes is not None:
        found["file_size"] = file_features(evidence)
    return found


def kinds(evidence: Evidence) -> pd.Series:
    """The site of each patient's first scan; empty where no column names it."""
    site = evidence.covariates.site
    if site is None or site in evidence.covariates.label_source:
        return pd.Series(dtype=object)
    return evidence.covariates.cohort.drop_duplicates(PATIENT_ID).set_index(PATIENT_ID)[site]


def shortcut_context(evidence: Evidence, acquisition: pd.DataFrame | None) -> ShortcutContext:
    """What is known beside the scores of each patient."""
    cohort, severity = evidence.covariates.cohort, evidence.covariates.stated_severity
    rows = evidence.changes[evidence.changes[CHANGE].isin((UNCHANGED, *REACQUIRED))]
    return ShortcutContext(
        features=acquisition,
        severity=features_of(cohort, severity) if severity else None,
        changed=rows.assign(logit=logits(rows)).pivot(index=PATIENT_ID, columns=CHANGE, values="logit"),
    )


def file_features(evidence: Evidence) -> pd.DataFrame:
    """Logarithm of the files' size, by patient."""
    patients = evidence.covariates.splits.set_index(SCAN_ID)[PATIENT_ID]
    sizes = np.log(evidence.file_bytes.reindex(patients.index).to_numpy(dtype=float))
    return pd.DataFrame({"log_bytes": sizes}).groupby(patients.to_numpy()).mean()


def logits(rows: pd.DataFrame) -> pd.Series:
    """Of the positive class, by patient."""
    return pd.Series(logit(rows[prob_columns(rows)[-1]].to_numpy(dtype=float)), index=rows.index)


def patient_summaries(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """The simple features by patient, means of its scans."""
    patients = evidence.covariates.splits.set_index(SCAN_ID)[PATIENT_ID]
    return {
        name: features.groupby(patients.reindex(features.index).to_numpy()).mean()
        for name, features in evidence.summaries.items()
    }


def simple_features(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """What each simple predictor looks at, by patient."""
    cohort = evidence.covariates.cohort
    of_columns = {
        name: features_of(cohort, columns) for name, columns in evidence.covariates.predictors.items() if columns
    }
    return of_columns | patient_summaries(evidence)


def frozen_embeddings(evidence: Evidence) -> tuple[pd.DataFrame, Array]:
    """The division's rows, and for each the mean of its scans' simple features: an embedding that is never trained."""
    splits = evidence.covariates.splits
    features = pd.concat(list(evidence.summaries.values()), axis=1).reindex(splits[SCAN_ID]).to_numpy()
    means = pd.DataFrame(features).groupby([splits[PATIENT_ID].to_numpy(), partitions_of(splits)]).mean()
    division = patient_partitions(splits)
    return division, means.reindex(pd.MultiIndex.from_frame(division[[PATIENT_ID, PART]])).to_numpy()


def fold_embeddings(evidence: Evidence) -> list[FoldEmbeddings]:
    """What each network makes of each patient that it did not train on, means of its scans."""
    return [of_fold(evidence, key, arrays) for key, arrays in evidence.embeddings.items()]


def of_fold(evidence: Evidence, key: TrainingKey, arrays: Mapping[str, Array]) -> FoldEmbeddings:
    own = (evidence.held_out[FOLD] == key.fold) & (evidence.held_out[SEED] == key.seed)
    rows = evidence.held_out[own].set_index(SCAN_ID).reindex(arrays["scan_id"])
    known = rows[PATIENT_ID].notna().to_numpy()
    codes, patients = pd.factorize(rows.loc[known, PATIENT_ID])
    is_positive = rows.loc[known].drop_duplicates(PATIENT_ID)[LABEL].to_numpy() == evidence.positive
    stages = {
        name: pd.DataFrame(embeddings[known]).groupby(codes).mean().to_numpy()
        for name, embeddings in arrays.items()
        if name != "scan_id"
    }
    return FoldEmbeddings(np.asarray(patients), is_positive, stages)
