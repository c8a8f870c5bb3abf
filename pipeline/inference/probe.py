"""Probe a table of features: a logistic regression for each label, judged on patients that it was not fitted on.

Needs no network and no torch. Axes: N scans, F features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SEED, SPLIT, VAL
from pipeline.core.io import read_json
from pipeline.core.paths import CohortPaths
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.predictions import aggregate_by_patient, num_patients_with_mixed_labels
from pipeline.evaluation.sample import Sample, sample_of
from pipeline.evaluation.settings import Settings
from pipeline.evaluation.uncertainty.estimates import Estimate, estimate_metrics
from pipeline.inference.feature_table import Array, Features, labels_of
from pipeline.training.logistic import choose_penalty, feature_scale, patient_folds, regression_of

Scores = tuple[int, Array, Array]
"""A fold, the rows (N,) that it judges, and their probabilities (n, K)."""
UNKNOWN = -1
MIN_PATIENTS = 2
"""Of each class in the training part of a fold: with fewer the penalty cannot be chosen inside it."""
SHOTS = (1, 2, 4, 8, 16)
"""Patients of each class that a few-shot probe is fitted on."""
SHOT_PENALTY = 1.0
"""scikit-learn's `C` of a few-shot probe: too few patients to choose it."""
MAX_CLASSES = 20
"""A column with more values is no label."""


@dataclass(frozen=True)
class Probe:
    """How well a label can be read from the features."""

    label: str
    auroc: Estimate
    """Over validation patients of all folds, or scans where a patient has several labels."""
    num_scans: int
    """With a value of the label, outside the locked test set."""
    patients_of_class: dict[str, int]
    inverse_penalties: dict[int, float]
    """By fold, scikit-learn's `C`, chosen inside its training part."""
    shots: dict[int, Estimate]
    """Mean over draws of so many training patients a class; the interval is that of the draws."""


def probe_labels(
    features: Features, paths: CohortPaths, names: Sequence[str], settings: Settings, num_draws: int = 0
) -> list[Probe]:
    """Each named column of the cohort's table; ValueError if the features are of another cohort."""
    embedded = features.origin.get("cohort", paths.folder.name)
    if embedded != paths.folder.name:
        raise ValueError(f"the features are of cohort '{embedded}', got '{paths.folder.name}'; give cohort={embedded}.")
    cohort, ingest = read_cohort(paths.cohort), read_json(paths.ingest, "classes")
    classes, task = ingest["classes"], ingest.get("task", settings.task)
    return [
        probe(features, title, values, settings, classes=classes if name == LABEL else (), num_draws=num_draws)
        for name in names
        for title, values in labels_of(features, cohort, name, classes, task).items()
    ]


def probe(
    features: Features,
    name: str,
    labels: pd.Series,
    settings: Settings,
    *,
    classes: Sequence[str] = (),
    num_draws: int = 0,
) -> Probe:
    """Fit `labels` (N,), empty where unknown, in every fold; with `num_draws` also on a few patients a class.

    `classes` gives the order of those found. What cannot be fitted has the reason in place of a value.
    """
    used = np.any([mask for masks in features.rounds.values() for mask in masks], axis=0)
    labels = labels.where(used, "")  # the locked test set has no say, not even in which classes there are
    found = set(labels) - {""}
    ordered = tuple(value for value in classes if value in found) or tuple(sorted(found))
    task = LabeledFeatures(
        features, ordered, np.array([ordered.index(value) if value else UNKNOWN for value in labels])
    )
    reason = task.reason_impossible()
    counts = {value: task.count_patients(task.codes == code) for code, value in enumerate(ordered)}
    summary = {"label": name, "num_scans": int(task.develops.sum())}
    if reason:
        counts = counts if len(counts) <= MAX_CLASSES else {}
        nothing = Estimate(None, None, None, task.count_patients(task.develops), reason)
        return Probe(auroc=nothing, patients_of_class=counts, inverse_penalties={}, shots={}, **summary)
    task.check_is_no_feature(name)
    scores, penalties = task.out_of_fold(settings.seed)
    auroc = estimate_metrics(task.sample(scores), {"auroc": METRICS.get("auroc")}, settings)["auroc"]
    shots = {count: task.few_shots(count, num_draws, settings) for count in SHOTS} if num_draws else {}
    return Probe(auroc=auroc, patients_of_class=counts, inverse_penalties=penalties, shots=shots, **summary)


@dataclass(frozen=True)
class LabeledFeatures:
    """One label on one table of features."""

    features: Features
    classes: tuple[str, ...]
    codes: Array
    """(N,) index of the class, or UNKNOWN."""

    @cached_property
    def rounds(self) -> dict[int, tuple[Array, Array]]:
        """`Features.rounds` without scans whose label is unknown."""
        rounds = self.features.rounds.items()
        return {fold: (train & self.develops, held_out & self.develops) for fold, (train, held_out) in rounds}

    @cached_property
    def develops(self) -> Array:
        """(N,) scans that some round fits or judges."""
        return self.codes != UNKNOWN

    @cached_property
    def patients(self) -> Array:
        return self.features.rows[PATIENT_ID].to_numpy(str)

    def count_patients(self, rows: Array) -> int:
        return len(np.unique(self.patients[rows & self.develops]))

    def reason_impossible(self) -> str | None:
        """Why no probe can be fitted: a constant label, too many values, too few patients of one."""
        found = np.unique(self.codes[self.develops])
        if len(found) < 2:
            return f"every scan has the value '{self.classes[found[0]]}'" if len(found) else "no scan has a value"
        if len(found) > MAX_CLASSES:
            return f"{len(found)} different values, expected at most {MAX_CLASSES} classes"
        for fold, (train, _) in self.rounds.items():
            for code in found:
                count = self.count_patients(train & (self.codes == code))
                if count < MIN_PATIENTS:
                    value, least = self.classes[code], f"expected {MIN_PATIENTS} or more"
                    return f"{count} patients of class '{value}' in the training part of fold {fold}, {least}"
        return None

    def check_is_no_feature(self, name: str) -> None:
        """ValueError if a feature has one value a class, another for each: then the label was given to the network."""
        values = self.features.values[self.develops]
        of_class = [values[self.codes[self.develops] == code] for code in np.unique(self.codes[self.develops])]
        constant = np.all([np.ptp(rows, axis=0) == 0 for rows in of_class], axis=0)
        first = np.sort([rows[0] for rows in of_class], axis=0)
        if (same := np.flatnonzero(constant & (np.diff(first, axis=0) > 0).all(0))).size:
            raise ValueError(
                f"label '{name}' is {self.features.names[same[0]]} itself, expected one that the features were not "
                "made from; leave that feature out, or name another label."
            )

    def standardized(self, train: Array) -> Array:
        """(N, F') all rows in units of the training part's deviations; with F above its scans, turned into as few axes.

        A ridge penalty depends on lengths and angles alone, and its solution lies in the space of the training scans.
        """
        rows = self.features.values[train]
        scaled = (self.features.values - rows.mean(0)) / feature_scale(rows)
        if scaled.shape[1] <= len(rows):
            return scaled
        return scaled @ np.linalg.svd(scaled[train], full_matrices=False)[2].T

    def out_of_fold(self, seed: int) -> tuple[list[Scores], dict[int, float]]:
        """Probabilities of the scans that each round judges, and its penalty, chosen inside its training part."""
        scores, penalties = [], {}
        for fold, (train, held_out) in self.rounds.items():
            values, labels = self.standardized(train), self.codes[train]
            folds = patient_folds(labels, self.patients[train], seed)
            penalties[fold] = choose_penalty(values[train], labels, folds)
            fitted = regression_of(penalties[fold], None).fit(values[train], labels)
            scores.append((fold, held_out, self.probabilities(fitted, values[held_out])))
        return scores, penalties

    def probabilities(self, fitted: LogisticRegression, values: Array) -> Array:
        """(n, K) also of classes that were not fitted, which have none."""
        probs = np.zeros((len(values), len(self.classes)))
        probs[:, fitted.classes_] = fitted.predict_proba(values)
        return probs

    def few_shots(self, count: int, num_draws: int, settings: Settings) -> Estimate:
        """Mean AUROC over draws of `count` training patients a class; features are standardized on all of them."""
        found = np.unique(self.codes[self.develops])
        parts = {fold: (self.standardized(train), train, held) for fold, (train, held) in self.rounds.items()}
        least = min(
            self.count_patients(train & (self.codes == code)) for train, _ in self.rounds.values() for code in found
        )
        num_patients = self.count_patients(self.develops)
        if least < count:
            return Estimate(None, None, None, num_patients, f"a class has {least} training patients in a fold")
        aurocs = []
        for draw in range(num_draws):
            scores = []
            for fold, (values, train, held_out) in parts.items():
                rows = self.draw(train, found, count, np.random.default_rng((settings.seed, count, draw, fold)))
                fitted = regression_of(SHOT_PENALTY, None).fit(values[rows], self.codes[rows])
                scores.append((fold, held_out, self.probabilities(fitted, values[held_out])))
            aurocs.append(METRICS.get("auroc").fn(self.sample(scores).weighted())[0])
        if not np.isfinite(aurocs).all():
            return Estimate(None, None, None, num_patients, "no fold has both a class and the rest")
        tail = (1 - settings.confidence) / 2
        low, high = np.quantile(aurocs, [tail, 1 - tail])
        return Estimate(float(np.mean(aurocs)), float(low), float(high), num_patients)

    def draw(self, train: Array, found: Array, count: int, generator: np.random.Generator) -> Array:
        """(N,) the training scans of `count` patients of each class."""
        drawn = np.zeros(len(train), dtype=bool)
        for code in found:
            of_class = train & (self.codes == code)
            chosen = generator.choice(np.unique(self.patients[of_class]), count, replace=False)
            drawn |= of_class & np.isin(self.patients, chosen)
        return drawn

    def sample(self, scores: Sequence[Scores]) -> Sample:
        """What metrics see: patients with the mean of their scans, or scans where a patient has several labels."""
        tables = []
        for fold, held_out, probs in scores:
            table = self.features.rows.loc[held_out, [SCAN_ID, PATIENT_ID]].assign(**{FOLD: fold, SPLIT: VAL, SEED: 0})
            table[LABEL] = [self.classes[code] for code in self.codes[held_out]]
            tables.append(table.assign(**{f"{PROB_PREFIX}{name}": probs[:, k] for k, name in enumerate(self.classes)}))
        scans = pd.concat(tables, ignore_index=True)
        return sample_of(scans if num_patients_with_mixed_labels(scans) else aggregate_by_patient(scans, "mean"))


def results_table(probes: Sequence[Probe]) -> pd.DataFrame:
    """A row for each label with all training patients, and for each number of patients a class."""
    rows = []
    for each in probes:
        for shots, estimate in {"all": each.auroc, **each.shots}.items():
            rows.append({"label": each.label, "patients_per_class": shots, **estimate.entry()})
    return pd.DataFrame(rows).rename(columns={"value": "auroc"})


def results_record(features: Features, probes: Sequence[Probe]) -> dict[str, Any]:
    """The same as nested values, with the origin of the features, counts and penalties."""
    return {
        "features": {**features.origin, "num_features": len(features.names)},
        "labels": {
            each.label: {
                "auroc": each.auroc.entry(),
                "num_scans": each.num_scans,
                "patients_of_class": each.patients_of_class,
                "inverse_penalties": {str(fold): penalty for fold, penalty in each.inverse_penalties.items()},
                "shots": {str(count): estimate.entry() for count, estimate in each.shots.items()},
            }
            for each in probes
        },
    }
