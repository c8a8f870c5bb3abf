"""The slice-wise network against loops over its slices."""

import pytest
import torch

from pipeline.models import build_model
from pipeline.models.volume.slice_pooling import POOLINGS

VOLUME = torch.randn(2, 1, 7, 40, 33, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def build(build_tiny):
    def build_slicewise(pooling: object = "mean", name: str = "poolformer_s12", **volume: object) -> torch.nn.Module:
        return build_tiny(name, num_classes=3, volume={"mode": "slicewise", "pooling": pooling, **volume})

    return build_slicewise


@pytest.fixture
def network(build) -> torch.nn.Module:
    return build("gated_attention")


@torch.no_grad()
def test_equals_a_loop_over_slices(network):
    embeddings = torch.stack([network.encoder(VOLUME[:, :, index]) for index in range(7)], dim=1)
    expected = network.head(network.pooling(embeddings).embedding)
    torch.testing.assert_close(network(VOLUME), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_mean_pooling_averages_the_logits_of_slices(build):
    network = build("mean")
    logits = torch.stack([network.head(network.encoder(VOLUME[:, :, index])) for index in range(7)])
    torch.testing.assert_close(network(VOLUME), logits.mean(dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention", "gated_attention"])
@torch.no_grad()
def test_a_depth_repeated_volume_gives_what_its_slice_gives(build, pooling):
    network = build(pooling)
    volume = VOLUME[:, :, :1].expand(-1, -1, 5, -1, -1)
    torch.testing.assert_close(network(volume), network(VOLUME[:, :, :1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk_slices", [1, 4, 14, 100])
@torch.no_grad()
def test_chunked_equals_unchunked(build, network, chunk_slices):
    chunked = build("gated_attention", chunk_slices=chunk_slices)
    chunked.load_state_dict(network.state_dict())
    torch.testing.assert_close(chunked(VOLUME), network(VOLUME), atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(chunked.forward_stages(VOLUME).stages, network.forward_stages(VOLUME).stages, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_chunked_gradients_equal_unchunked_ones(build):
    whole, chunked = build(), build(chunk_slices=3)
    for network in (whole, chunked):
        network(VOLUME).square().sum().backward()
    for (name, ours), theirs in zip(chunked.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=1e-3, msg=name)


def kept_bytes(network: torch.nn.Module, depth: int) -> int:
    """What a training step keeps between its passes, the volume and the weights left out."""
    volume = torch.zeros(1, 1, depth, 32, 32)
    left_out = {tensor.untyped_storage().data_ptr() for tensor in (volume, *network.parameters(), *network.buffers())}
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(volume)
    return sum(storage.nbytes() for address, storage in storages.items() if address not in left_out)


def test_what_a_chunk_keeps_does_not_grow_with_depth(build):
    whole, chunked = build().train(), build(chunk_slices=4).train()
    growth = (kept_bytes(chunked, 32) - kept_bytes(chunked, 16)) / (kept_bytes(whole, 32) - kept_bytes(whole, 16))
    assert growth < 0.02  # what grows is the embeddings


def test_each_slice_counts_once_in_the_batch_statistics_of_chunks(build):
    network = build(name="resnet18", chunk_slices=7).train()
    norm = network.encoder.bn1
    network(VOLUME).sum().backward()
    assert norm.num_batches_tracked == 2  # two chunks, though each is computed twice
    after_one_pass = norm.running_mean.clone()
    again = build(name="resnet18", chunk_slices=7).train()
    with torch.no_grad():
        again(VOLUME)
    torch.testing.assert_close(after_one_pass, again.encoder.bn1.running_mean)


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_attention_comes_with_the_same_logits(build, pooling):
    network = build(pooling)
    attended = network.forward_attention(VOLUME)
    torch.testing.assert_close(attended.logits, network(VOLUME))
    assert attended.weights.shape == (2, 7)


@torch.no_grad()
def test_stage_maps_are_those_of_the_slices(network):
    stages, logits = network.forward_stages(VOLUME)
    torch.testing.assert_close(logits, network(VOLUME), atol=1e-5, rtol=1e-5)
    slice_stages = network.encoder.forward_stages(VOLUME[:, :, 5]).stages
    for ours, theirs in zip(stages, slice_stages, strict=True):
        torch.testing.assert_close(ours[:, :, 5], theirs, atol=1e-4, rtol=1e-4)


def test_reset_classifier_leaves_the_volume_embedding(build):
    network = build("attention")
    network.reset_classifier(0)
    embedding = network.forward_head(network.forward_features(VOLUME), pre_logits=True)
    assert torch.equal(network(VOLUME), embedding)
    network.reset_classifier(5)
    assert network(VOLUME).shape == (2, 5)


def test_frozen_network_learns_pooling_and_head_alone(build):
    network = build("attention")
    network.freeze()
    trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trainable == {name for name, _ in network.named_parameters() if name.startswith(("pooling.", "head."))}


def test_a_frozen_encoder_gives_constants_in_training(build):
    network = build("attention")
    expected = network.forward_features(VOLUME)
    network.freeze()
    assert torch.equal(network.train().forward_features(VOLUME), expected)  # its drop path of 0.1 is off


def test_checkpointing_reaches_the_encoder(network):
    network.set_grad_checkpointing(True)
    assert network.encoder.grad_checkpointing
    network.set_grad_checkpointing(False)
    assert not network.encoder.grad_checkpointing


def test_a_volume_without_its_batch_axis_is_rejected(network):
    with pytest.raises(ValueError, match=r"\(B, C, D, H, W\).*got shape \(1, 7, 40, 33\)"):
        network(VOLUME[0])


def test_chunks_of_no_slices_are_rejected(build):
    with pytest.raises(ValueError, match="chunk_slices.*got 0"):
        build(chunk_slices=0)


def test_an_encoder_without_pooling_is_rejected():
    network = build_model(
        "timm", pooling="none", head=lambda features, classes: torch.nn.Identity(), volume="slicewise"
    )
    with pytest.raises(ValueError, match=r"one embedding \(M, F\) per image, got \(14, .*with a pooling"):
        network(VOLUME)
