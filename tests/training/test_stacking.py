"""Weights of a stack: what they are fitted on, what they leave out, what they predict."""

import numpy as np
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from pipeline.models.fixed_features import FixedFeatures
from pipeline.models.stack import Stack
from pipeline.training.stacking import fit_stacked_head, fit_weights

NUM_PATIENTS, SCANS = 120, 2


def patients(seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Labels and patients of two scans each, and the generator for features."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(generator.permutation(np.arange(NUM_PATIENTS) % 2), SCANS)
    return labels, np.repeat(np.arange(NUM_PATIENTS), SCANS), generator


def signal(labels: np.ndarray, generator: np.random.Generator, strength: float, width: int = 4) -> np.ndarray:
    """Features (N, width), the first of which carries the label."""
    features = generator.normal(size=(len(labels), width)).astype(np.float32)
    features[:, 0] += strength * labels
    return features


def stack_of(features: dict[str, np.ndarray], num_classes: int = 2) -> Stack:
    return Stack(
        {name: FixedFeatures(part.shape[1], in_channels=1, num_classes=0) for name, part in features.items()},
        num_classes=num_classes,
    )


def fit(features: dict[str, np.ndarray], labels: np.ndarray, groups: np.ndarray, **options):
    stack = stack_of(features, num_classes=labels.max() + 1)
    return stack, fit_stacked_head(stack, list(features.values()), labels, groups=groups, **options)


def predict(stack: Stack, features: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return stack.head(torch.from_numpy(np.concatenate(list(features.values()), axis=1))).softmax(1).numpy()


def test_two_members_that_know_different_things_beat_each_of_them_on_new_patients():
    labels, groups, generator = patients(0)
    features = {"a": signal(labels, generator, 1.2), "b": signal(labels, generator, 1.2)}
    stack, report = fit(features, labels, groups)
    new_labels, _, generator = patients(1)
    new = {"a": signal(new_labels, generator, 1.2), "b": signal(new_labels, generator, 1.2)}
    together = roc_auc_score(new_labels, predict(stack, new)[:, 1])
    for name in features:
        alone, _ = fit({name: features[name], "none": np.zeros((len(labels), 1), np.float32)}, labels, groups)
        own = {name: new[name], "none": np.zeros((len(new_labels), 1), np.float32)}
        assert together > roc_auc_score(new_labels, predict(alone, own)[:, 1]) + 0.03
    assert all(values["weight"] > 0.3 for values in report.values())
    assert all(values["stack_log_loss_without"] > values["stack_log_loss"] for values in report.values())


def test_a_member_of_noise_is_left_out():
    labels, groups, generator = patients(2)
    features = {"signal": signal(labels, generator, 2.0), "noise": signal(labels, generator, 0.0, width=40)}
    stack, report = fit(features, labels, groups)
    assert (report["noise"]["weight"], report["noise"]["stack_log_loss_without"]) == (0, None)
    assert stack.member_weights.min() >= 0
    torch.testing.assert_close(
        stack.member_weights.double(), torch.tensor([v["weight"] for v in report.values()]).double()
    )


def test_permuted_labels_give_chance_through_the_stack():
    """Scans of a patient are alike and share its label: weights that saw a patient's other scan would know it."""
    labels, groups, generator = patients(3)
    of_patient = [generator.normal(size=(2 * NUM_PATIENTS, 30)) for _ in range(3)]
    features = {
        str(index): (part[groups] + 0.01 * generator.normal(size=(len(labels), 30))).astype(np.float32)
        for index, part in enumerate(of_patient)
    }
    stack, report = fit(features, labels, groups)
    # Penalties and members were chosen on these patients, so a little below chance is luck; half of it is a leak.
    assert all(values["stack_log_loss"] > np.log(2) - 0.1 for values in report.values())
    new = {str(index): part[NUM_PATIENTS:].astype(np.float32) for index, part in enumerate(of_patient)}
    new_labels = generator.permutation(np.arange(NUM_PATIENTS) % 2)
    assert abs(roc_auc_score(new_labels, predict(stack, new)[:, 1]) - 0.5) < 0.15


def test_weights_are_those_of_a_logistic_regression_where_none_is_negative():
    labels, _, generator = patients(4)
    margins = np.stack([labels * 2 - 1 + generator.normal(0, 2, len(labels)) for _ in range(2)], axis=1)
    logits = np.stack([-margins / 2, margins / 2], axis=2)
    found = fit_weights(logits, labels, 0.0, np.ones(len(labels)))
    reference = LogisticRegression(C=np.inf, max_iter=1000).fit(margins, labels)
    np.testing.assert_allclose(found[:2], reference.coef_[0], atol=2e-3)
    np.testing.assert_allclose(found[3] - found[2], reference.intercept_[0], atol=2e-3)


def test_a_member_that_is_always_wrong_has_no_negative_weight():
    labels, _, generator = patients(5)
    right, wrong = (sign * (labels * 2 - 1) + generator.normal(0, 1, len(labels)) for sign in (1, -1))
    logits = np.stack([np.stack([-m, m], axis=1) for m in (right, wrong)], axis=1)
    found = fit_weights(logits, labels, 0.0, np.ones(len(labels)))
    assert found[0] > 0.5 and found[1] == 0


def test_three_classes_and_the_head_of_the_network_are_the_weighted_sum():
    _, groups, generator = patients(6)
    labels = np.repeat(np.arange(NUM_PATIENTS) % 3, SCANS)
    features = {}
    for name in ("a", "b"):
        features[name] = generator.normal(size=(len(labels), 5)).astype(np.float32)
        features[name][np.arange(len(labels)), labels] += 1.5
    stack, report = fit(features, labels, groups)
    probs = predict(stack, features)
    assert probs.shape == (len(labels), 3)
    assert log_loss(labels, probs) < min(values["log_loss"] for values in report.values())
    parts = stack.member_logits(torch.from_numpy(np.concatenate(list(features.values()), axis=1)))
    total = sum(parts.values()).detach().numpy() + stack.head.bias.detach().numpy()
    np.testing.assert_allclose(softmax(total, axis=1), probs, atol=1e-5)
