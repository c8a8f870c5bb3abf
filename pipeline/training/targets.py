"""Targets: what a label means for the network, and the probabilities and the AUROC that go with it.

A label is one class of several, a grade among ordered classes, or any number of classes at once.
Axes: B batch, K classes.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pipeline.config import Cohort
from pipeline.core.columns import LABEL, LABEL_SEPARATOR

Task = Literal["binary", "multiclass", "multilabel", "ordinal"]


def task_of(cohort: Cohort, classes: Sequence[str]) -> Task:
    """The cohort's task; `auto` follows from the number of classes."""
    if cohort.task != "auto":
        return cohort.task
    return "binary" if len(classes) == 2 else "multiclass"


def with_targets(rows: pd.DataFrame, classes: Sequence[str], task: Task) -> pd.DataFrame:
    """The same rows with each label as the index of its class, or for multilabel as a tuple of K zeros and ones."""
    if task != "multilabel":
        return rows.assign(**{LABEL: rows[LABEL].map(list(classes).index)})
    present = [set(label.split(LABEL_SEPARATOR)) for label in rows[LABEL]]
    return rows.assign(**{LABEL: [tuple(float(name in names) for name in classes) for names in present]})


def count_classes(rows: pd.DataFrame, classes: Sequence[str], task: Task) -> list[int]:
    """Number of scans of each class."""
    targets = np.array(with_targets(rows, classes, task)[LABEL].tolist())
    counts = targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=len(classes))
    return [int(count) for count in counts]


def probabilities(logits: Tensor, task: Task) -> Tensor:
    """Logits (B, K) -> probabilities (B, K): a softmax, or for multilabel a sigmoid per class."""
    return logits.sigmoid() if task == "multilabel" else logits.softmax(1)


def by_patient(logits: Tensor, targets: Tensor, patients: Sequence[str], task: Task) -> tuple[Tensor, Tensor]:
    """Logits of the mean probabilities of each patient's scans, and the label; scans of another label count apart.

    `logits` is (N, K), `targets` (N,) or (N, K) and `patients` (N,); with one scan each they come back as they are.
    """
    scans: dict[tuple[str, str], list[int]] = {}
    for row, (patient, target) in enumerate(zip(patients, targets.tolist(), strict=True)):
        scans.setdefault((patient, str(target)), []).append(row)
    if len(scans) == len(logits):
        return logits, targets

    def log_mean(log_probs: Tensor) -> Tensor:
        return torch.stack([log_probs[rows].logsumexp(0) - math.log(len(rows)) for rows in scans.values()])

    if task == "multilabel":
        means = log_mean(logsigmoid(logits)) - log_mean(logsigmoid(-logits))
    else:
        means = log_mean(logits.log_softmax(1))
    return means, targets[[rows[0] for rows in scans.values()]]


def validation_auroc(probs: Tensor, targets: Tensor) -> float:
    """AUROC over patients or scans, one against the rest for more than two classes.

    NaN if a class is missing or a probability is not finite. `probs` is (B, K); `targets` is (B,), or (B, K) for
    multilabel: then the mean over the classes that some rows have and others have not. It only selects checkpoints;
    reported metrics come from predictions.csv.
    """
    # Importing it takes a second, which prediction does not need.
    from sklearn.metrics import roc_auc_score

    if not probs.isfinite().all():
        return float("nan")
    if targets.dim() == 2:
        mixed = [k for k in range(targets.shape[1]) if 0 < targets[:, k].mean() < 1]
        return float(np.mean([roc_auc_score(targets[:, k], probs[:, k]) for k in mixed])) if mixed else float("nan")
    if len(targets.unique()) < probs.shape[1]:
        return float("nan")
    if probs.shape[1] == 2:
        return float(roc_auc_score(targets, probs[:, 1]))
    return float(roc_auc_score(targets, probs.double() / probs.double().sum(1, keepdim=True), multi_class="ovr"))
