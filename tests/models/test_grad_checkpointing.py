"""Recomputation: same numbers, less kept, batch statistics counted once."""

import torch
from torch import nn

from pipeline.models.grad_checkpointing import frozen_statistics, recompute

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def make_block() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(5, 2, 3))


def test_gradients_and_statistics_equal_those_of_a_plain_pass():
    plain, recomputed = make_block(), make_block()
    torch.manual_seed(1)
    plain(IMAGES).square().sum().backward()
    torch.manual_seed(1)
    recompute(recomputed, recomputed, IMAGES).square().sum().backward()
    for ours, theirs in zip(recomputed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(recomputed.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_held_statistics_move_again_afterwards():
    block = make_block()
    before = [buffer.clone() for buffer in block.buffers()]
    with frozen_statistics(block):
        block(IMAGES)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(block.buffers(), before, strict=True))
    block(IMAGES)
    assert block[1].num_batches_tracked == 1
    assert not torch.equal(block[1].running_mean, before[0])
