"""The linear probe against scikit-learn's logistic regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.training.linear_probe import (
    FeatureCache,
    classifier_of,
    digest,
    fingerprint,
    fit_logistic_head,
)
from pipeline.training.logistic import INVERSE_PENALTIES, patient_folds
from tests.models.tiny import build_tiny


@pytest.fixture
def table():
    """A network for three classes or two, and embeddings of its width with labels they half explain."""

    def make(num_classes: int, num_patients: int = 60):
        network = build_tiny(volume="slicewise", num_classes=num_classes)
        rng = np.random.default_rng(0)
        labels = np.arange(num_patients) % num_classes
        embeddings = rng.normal(3, 5, (num_patients, network.num_features))
        embeddings[:, 0] += 4 * labels
        embeddings[:, -1] = 7.0  # constant, as a dead feature is
        return network, embeddings, labels

    return make


@pytest.mark.parametrize("num_classes", [2, 3])
def test_softmax_of_the_logits_is_scikit_learns_probability(table, num_classes):
    network, embeddings, labels = table(num_classes)
    fit_logistic_head(network, embeddings, labels, inverse_penalty=0.1)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=10_000)).fit(embeddings, labels)
    with torch.no_grad():
        probs = classifier_of(network)(torch.from_numpy(embeddings).float()).softmax(dim=1).numpy()
    np.testing.assert_allclose(probs, reference.predict_proba(embeddings), atol=1e-4)


def test_a_feature_that_varied_by_rounding_alone_does_not_decide_a_new_scan(table):
    network, embeddings, labels = table(2)
    embeddings = embeddings.astype(np.float32)
    # A difference of a few roundings that follows the label, as the maximum over an empty cell can have.
    embeddings[:, 1] = np.float32(3.8) + np.float32(2e-6) * labels
    fit_logistic_head(network, embeddings, labels, inverse_penalty=0.1)
    layer = classifier_of(network)
    new = torch.from_numpy(np.repeat(embeddings[:1], 2, axis=0))
    new[1, 1] += 1.4
    with torch.no_grad():
        unchanged, varied = layer(new).softmax(dim=1)
    torch.testing.assert_close(varied, unchanged, atol=1e-3, rtol=0)


def test_the_penalty_has_the_smallest_out_of_fold_loss(table):
    network, embeddings, labels = table(2)
    chosen = fit_logistic_head(network, embeddings, labels)
    folds = patient_folds(labels, np.arange(len(labels)), seed=0)
    scaled = StandardScaler().fit_transform(embeddings)
    reference = LogisticRegressionCV(
        Cs=INVERSE_PENALTIES,
        cv=folds,
        scoring="neg_log_loss",
        l1_ratios=(0,),
        use_legacy_attributes=False,
        max_iter=10_000,
    ).fit(scaled, labels)
    assert chosen == reference.C_


def test_folds_are_stratified_and_keep_patients_whole():
    patients = np.repeat(np.arange(30), 2)
    labels = np.repeat(np.arange(30) % 2, 2)
    folds = patient_folds(labels, patients, seed=0)
    assert len(folds) == StratifiedKFold().get_n_splits()
    for training, held_out in folds:
        assert not set(patients[training]) & set(patients[held_out])
        assert set(labels[held_out]) == {0, 1}


def test_a_class_with_one_patient_needs_a_given_penalty(table):
    network, embeddings, labels = table(2, num_patients=10)
    labels = np.array([1] + [0] * 9)
    with pytest.raises(ValueError, match="2 patients or more of each class, got 1; set inverse_penalty"):
        fit_logistic_head(network, embeddings, labels)
    assert fit_logistic_head(network, embeddings, labels, inverse_penalty=1.0) == 1.0


def test_a_class_that_never_occurs_is_rejected(table):
    network, embeddings, labels = table(3)
    with pytest.raises(ValueError, match=r"every class from 0 to 2, got \[0, 1\]"):
        fit_logistic_head(network, embeddings, np.minimum(labels, 1))


def test_a_network_without_a_classifier_is_rejected():
    network = build_tiny(volume="slicewise", num_classes=0)
    with pytest.raises(ValueError, match="needs a linear last layer, got Identity"):
        classifier_of(network)


@pytest.mark.parametrize("name", ["poolformer_s12", "resnet18", "vit_tiny"])
def test_the_classifier_of_every_family_is_found(name):
    assert classifier_of(build_tiny(name, num_classes=5, spatial_dims=2)).out_features == 5


def test_balanced_classes_count_the_same_whatever_their_number(table):
    network, embeddings, labels = table(2)
    kept = np.flatnonzero((labels == 0) | (np.arange(len(labels)) < 20))
    embeddings, labels = embeddings[kept], labels[kept]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=10_000, class_weight="balanced"))
    reference = pipeline.fit(embeddings, labels).predict_proba(embeddings)
    fit_logistic_head(network, embeddings, labels, inverse_penalty=0.1, class_weight="balanced")
    with torch.no_grad():
        probs = classifier_of(network)(torch.from_numpy(embeddings).float()).softmax(dim=1).numpy()
    np.testing.assert_allclose(probs, reference, atol=1e-4)
    fit_logistic_head(network, embeddings, labels, class_weight="balanced")
    assert np.isfinite(classifier_of(network).weight.detach().numpy()).all()


def volumes(number: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 4, 32, 32, generator=generator) for _ in range(number)]


def embed(cache: FeatureCache, found: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([cache.embedding(volume) for volume in found])


@pytest.fixture
def network(build_tiny):
    network = build_tiny(volume={"mode": "slicewise", "pooling": "attention"})
    network.freeze()
    return network


def entries(cache: FeatureCache) -> list:
    return sorted(cache.folder.iterdir())


@torch.no_grad()
def test_cached_features_give_the_network_s_logits(network, tmp_path):
    cache = FeatureCache(tmp_path, network)
    features = torch.stack([cache.features(volume) for volume in volumes()])
    torch.testing.assert_close(network.forward_head(features), network(torch.stack(volumes())), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_embeddings_are_what_the_last_layer_takes(network, tmp_path):
    embeddings = embed(FeatureCache(tmp_path, network), volumes())
    torch.testing.assert_close(network.head(embeddings), network(torch.stack(volumes())), atol=1e-5, rtol=1e-5)


def test_features_are_computed_once(network, tmp_path):
    first = embed(FeatureCache(tmp_path, network), volumes())
    cache = FeatureCache(tmp_path, network)
    written = [path.stat().st_mtime_ns for path in entries(cache)]
    assert torch.equal(embed(cache, volumes()), first)
    assert [path.stat().st_mtime_ns for path in entries(cache)] == written
    assert len(written) == 3


def test_one_more_volume_is_one_more_entry(network, tmp_path):
    cache = FeatureCache(tmp_path, network)
    embed(cache, volumes(3))
    before = entries(cache)
    embed(cache, volumes(4))
    assert len(set(entries(cache)) - set(before)) == 1


def test_a_trained_head_keeps_the_features(network):
    before = fingerprint(network)
    for parameter in network.parameter_groups()["head"]:
        parameter.data += 1
    assert fingerprint(network) == before


def test_any_other_weight_is_another_network(network):
    before = fingerprint(network)
    next(network.encoder.parameters()).data[0] += 1e-3
    assert fingerprint(network) != before


def test_options_without_weights_are_another_network(build_tiny):
    names = {fingerprint(build_tiny(volume={"mode": "slab", "step": step})) for step in (1, 2)}
    assert len(names) == 2


def test_voxels_shape_and_type_name_a_volume():
    volume = torch.zeros(1, 2, 3, 4)
    changed = volume.clone()
    changed[0, 0, 0, 0] = 1e-6
    assert len({digest(v) for v in (volume, changed, volume.view(1, 4, 3, 2), volume.half())}) == 4
    assert digest(volume) == digest(volume.clone())


@pytest.mark.parametrize("damage", [lambda content: content[:50], lambda content: b"", lambda content: b"x" * 64])
def test_a_damaged_entry_is_computed_again(network, tmp_path, damage):
    cache = FeatureCache(tmp_path, network)
    expected = cache.features(volumes()[0])
    (path,) = entries(cache)
    path.write_bytes(damage(path.read_bytes()))
    assert torch.equal(cache.features(volumes()[0]), expected)
    assert torch.equal(FeatureCache(tmp_path, network).features(volumes()[0]), expected)


def test_features_are_those_of_eval_mode(network, tmp_path):
    network.train()
    assert torch.equal(
        FeatureCache(tmp_path / "train", network).features(volumes()[0]),
        FeatureCache(tmp_path / "eval", network.eval()).features(volumes()[0]),
    )
