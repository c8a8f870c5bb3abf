"""Stacking: how much each member of a stack counts, from predictions for patients that it was not fitted on.

Axes: N scans, M members, K classes, F features of a member.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from pipeline.core.columns import PATIENT_ID, TRAIN, VAL
from pipeline.core.paths import CohortPaths
from pipeline.models.stack import Stack
from pipeline.training.checkpoint import RunDirectory
from pipeline.training.fold_data import Fold
from pipeline.training.linear_probe import (
    check_labels,
    check_single_label,
    embeddings_of,
    head_metrics,
    labels_of,
)
from pipeline.training.logistic import (
    INVERSE_PENALTIES,
    ClassWeight,
    Folds,
    class_rows,
    feature_scale,
    patient_folds,
    regression_of,
)
from pipeline.training.targets import validation_auroc

log = logging.getLogger(__name__)
WEIGHT_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Candidates of the pull toward equal weights, per scan and squared unit of weight."""
LEAST_GAIN = 0.001
"""Fall of the out-of-fold log loss that a member must bring to stay."""


@dataclass(frozen=True)
class Member:
    """A member's classifier for standardized features, and its logits for scans it was not fitted on."""

    name: str
    penalty: float
    out_of_fold: NDArray[np.float64]
    """(N, K)"""


@dataclass(frozen=True)
class StackWeights:
    """What combines the members: logits = sum of weight times member's logits, plus the bias."""

    weights: NDArray[np.float64]
    """(M,), none negative; 0 for a member that is left out."""
    bias: NDArray[np.float64]
    """(K,)"""
    log_loss: float
    """Of weights on patients that they were not fitted on."""
    log_loss_without: NDArray[np.float64]
    """(M,): the same of the stack without each member; NaN for one that was left out, or is alone."""


def fit_stack(stack: Stack, fold: Fold, run_directory: RunDirectory, paths: CohortPaths, seed: int) -> None:
    """Fit every member's classifier and the members' weights on the training scans; save best and last checkpoint."""
    check_single_label(fold)
    labels, train = labels_of(fold), fold.rows[TRAIN]
    features = {
        partition: embeddings_of(list(stack.members.values()), fold, paths, fold.rows[partition])
        for partition in (TRAIN, VAL)
    }
    report = fit_stacked_head(
        stack,
        [part.numpy() for part in features[TRAIN]],
        labels[TRAIN],
        groups=train[PATIENT_ID].to_numpy(),
        class_weight="balanced" if fold.training.class_weights == "balanced" else None,
        seed=seed,
    )
    metrics = head_metrics(stack, {part: torch.cat(found, dim=1) for part, found in features.items()}, labels, fold)
    log.info(
        "stack: %s; val_loss %.3f  val_auroc %.3f", format_members(report), metrics["val_loss"], metrics["val_auroc"]
    )
    run_directory.save_only_epoch(stack.state_dict(), metrics, report)


def format_members(report: dict[str, dict[str, float | None]]) -> str:
    return ", ".join(f"{name} {values['weight']:.2f}" for name, values in report.items())


def fit_stacked_head(
    stack: Stack,
    embeddings: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    *,
    groups: NDArray,
    class_weight: ClassWeight = None,
    seed: int = 0,
) -> dict[str, dict[str, float | None]]:
    """Set the head of `stack` from the members' embeddings (N, F_m) of training scans with `labels` (N,).

    Patients are `groups` (N,). Returns for each member its weight, its log loss and AUROC on patients that it was not
    fitted on, and the log loss of the stack with and without it.
    """
    check_labels(labels, stack.num_classes)
    folds = patient_folds(labels, groups, seed)
    named = zip(stack.members, embeddings, strict=True)
    members = [out_of_fold_member(name, features, labels, folds, class_weight) for name, features in named]
    fitted = weigh_members(members, labels, groups, class_weight=class_weight, seed=seed)
    write_head(stack, embeddings, labels, members, fitted, class_weight)
    return {
        member.name: {
            "weight": float(weight),
            "log_loss": log_loss(labels, softmax(member.out_of_fold, axis=1)),
            "auroc": validation_auroc(torch.from_numpy(softmax(member.out_of_fold, axis=1)), torch.from_numpy(labels)),
            "stack_log_loss": fitted.log_loss,
            "stack_log_loss_without": None if np.isnan(without) else float(without),
        }
        for member, weight, without in zip(members, fitted.weights, fitted.log_loss_without, strict=True)
    }


@torch.no_grad()
def write_head(
    stack: Stack,
    embeddings: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    members: Sequence[Member],
    fitted: StackWeights,
    class_weight: ClassWeight,
) -> None:
    """The head and the weights: each member's regression on all training scans, times its weight."""
    blocks, bias = [], fitted.bias.copy()
    for member, features, weight in zip(members, embeddings, fitted.weights, strict=True):
        mean, scale = features.mean(axis=0), feature_scale(features)
        regression = regression_of(member.penalty, class_weight).fit((features - mean) / scale, labels)
        block = class_rows(regression.coef_) / scale
        blocks.append(weight * block)
        bias += weight * (class_rows(regression.intercept_[:, None])[:, 0] - block @ mean)
    stack.head.weight.copy_(torch.from_numpy(np.concatenate(blocks, axis=1)))
    stack.head.bias.copy_(torch.from_numpy(bias))
    stack.member_weights.copy_(torch.from_numpy(fitted.weights))


def out_of_fold_member(
    name: str, features: NDArray, labels: NDArray, folds: Folds, class_weight: ClassWeight
) -> Member:
    """The penalty with the smallest out-of-fold log loss, and the logits that go with it, of features (N, F)."""
    standardized = (features - features.mean(axis=0)) / feature_scale(features)
    found = [out_of_fold_logits(standardized, labels, folds, penalty, class_weight) for penalty in INVERSE_PENALTIES]
    weights = compute_sample_weight(class_weight, labels)
    losses = [log_loss(labels, softmax(logits, axis=1), sample_weight=weights) for logits in found]
    best = int(np.argmin(losses))
    return Member(name, INVERSE_PENALTIES[best], found[best])


def out_of_fold_logits(
    features: NDArray, labels: NDArray, folds: Folds, penalty: float, class_weight: ClassWeight
) -> NDArray[np.float64]:
    """(N, K): each part's logits from a regression on the other parts."""
    logits = np.zeros((len(labels), labels.max() + 1))
    for train, held_out in folds:
        fitted = regression_of(penalty, class_weight).fit(features[train], labels[train])
        logits[held_out] = (
            features[held_out] @ class_rows(fitted.coef_).T + class_rows(fitted.intercept_[:, None])[:, 0]
        )
    return logits


def weigh_members(
    members: Sequence[Member], labels: NDArray, groups: NDArray, *, class_weight: ClassWeight, seed: int
) -> StackWeights:
    """Weights from the members' out-of-fold logits; a member that lowers no log loss on other patients is left out.

    The pull toward equal weights is chosen, and every log loss computed, by weights fitted on other patients.
    """
    logits = np.stack([member.out_of_fold for member in members], axis=1)
    sample_weights = compute_sample_weight(class_weight, labels)
    folds = patient_folds(labels, groups, seed + 1)

    def loss_of(kept: Sequence[int], pull: float) -> float:
        return cross_fitted_loss(logits[:, kept], labels, folds, pull, sample_weights)

    def fit_kept() -> NDArray[np.float64]:
        return fit_weights(logits[:, kept], labels, pull, sample_weights)

    kept = list(range(len(members)))
    pull = min(WEIGHT_PENALTIES, key=lambda pull: loss_of(kept, pull))
    while len(kept) > 1:
        idle = [index for index, weight in zip(kept, fit_kept()[: len(kept)], strict=True) if weight == 0]
        if idle:
            log.info("stack: %s has no weight and is left out", members[idle[0]].name)
            kept.remove(idle[0])
            continue
        without = {index: loss_of([other for other in kept if other != index], pull) for index in kept}
        least = min(without, key=without.__getitem__)
        if without[least] > loss_of(kept, pull) + LEAST_GAIN:
            break
        log.info("stack: %s adds nothing and is left out", members[least].name)
        kept.remove(least)
    fitted = fit_kept()
    weights, losses = np.zeros(len(members)), np.full(len(members), np.nan)
    weights[kept] = fitted[: len(kept)]
    if len(kept) > 1:
        losses[kept] = [without[index] for index in kept]
    return StackWeights(weights, fitted[len(kept) :], loss_of(kept, pull), losses)


def cross_fitted_loss(logits: NDArray, labels: NDArray, folds: Folds, pull: float, sample_weights: NDArray) -> float:
    """Log loss of the stack of logits (N, M, K), each part with weights from the other parts."""
    probs = np.zeros((len(labels), logits.shape[2]))
    for train, held_out in folds:
        fitted = fit_weights(logits[train], labels[train], pull, sample_weights[train])
        probs[held_out] = softmax(combine(logits[held_out], fitted), axis=1)
    return log_loss(labels, probs, sample_weight=sample_weights)


def combine(logits: NDArray, parameters: NDArray) -> NDArray:
    """Logits (N, M, K) and M weights followed by K biases -> (N, K)."""
    num_members = logits.shape[1]
    return np.einsum("nmk,m->nk", logits, parameters[:num_members]) + parameters[num_members:]


def fit_weights(logits: NDArray, labels: NDArray, pull: float, sample_weights: NDArray) -> NDArray[np.float64]:
    """M weights, none negative, and K biases of logits (N, M, K): least log loss with a pull toward equal weights."""
    num_members, num_classes = logits.shape[1:]
    equal = np.full(num_members, 1 / num_members)
    shares = sample_weights / sample_weights.sum()
    truth = np.eye(num_classes)[labels]

    def objective(parameters: NDArray) -> tuple[float, NDArray]:
        log_probs = log_softmax(combine(logits, parameters), axis=1)
        error = (np.exp(log_probs) - truth) * shares[:, None]
        off = parameters[:num_members] - equal
        slope = np.concatenate([np.einsum("nk,nmk->m", error, logits) + 2 * pull * off, error.sum(axis=0)])
        return -float((shares[:, None] * truth * log_probs).sum()) + pull * float(off @ off), slope

    bounds = [(0, None)] * num_members + [(None, None)] * num_classes
    start = np.concatenate([equal, np.zeros(num_classes)])
    return minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B").x
