"""The feature cache: the same numbers, computed once, and never those of another network or volume."""

import pytest
import torch

from pipeline.training.features import FeatureCache, digest, fingerprint


def volumes(number: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 4, 32, 32, generator=generator) for _ in range(number)]


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
    embeddings = FeatureCache(tmp_path, network).embeddings(volumes())
    torch.testing.assert_close(network.head(embeddings), network(torch.stack(volumes())), atol=1e-5, rtol=1e-5)


def test_features_are_computed_once(network, tmp_path):
    first = FeatureCache(tmp_path, network).embeddings(volumes())
    cache = FeatureCache(tmp_path, network)
    written = [path.stat().st_mtime_ns for path in entries(cache)]
    assert torch.equal(cache.embeddings(volumes()), first)
    assert [path.stat().st_mtime_ns for path in entries(cache)] == written
    assert len(written) == 3


def test_one_more_volume_is_one_more_entry(network, tmp_path):
    cache = FeatureCache(tmp_path, network)
    cache.embeddings(volumes(3))
    before = entries(cache)
    cache.embeddings(volumes(4))
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
