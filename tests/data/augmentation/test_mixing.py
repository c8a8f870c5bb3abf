import numpy as np
import pytest
import torch

from pipeline.data.augmentation.mixing import Mixer

NAMES = ["a", "b", "c", "d"]
TARGETS = torch.eye(4)
VALUES = torch.arange(4.0)
VOLUMES = VALUES.view(4, 1, 1, 1, 1).expand(4, 2, 12, 10, 8).contiguous()
"""Scan i is constant i, so a voxel tells which scan it came from, and a mean tells the shares."""


def mixed(mixer: Mixer, epoch: int = 0, rows: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[torch.Tensor, torch.Tensor]:
    names = [NAMES[row] for row in rows]
    return mixer(VOLUMES[list(rows)], TARGETS[list(rows)], epoch=epoch, scan_ids=names)


@pytest.mark.parametrize("mixer", [Mixer(mixup=1.0), Mixer(cutmix=1.0), Mixer(mixup=1.0, cutmix=1.0)])
def test_labels_are_mixed_in_the_shares_of_the_voxels(mixer):
    for epoch in range(30):
        volumes, targets = mixed(mixer, epoch)
        torch.testing.assert_close(volumes.mean((1, 2, 3, 4)), targets @ VALUES, atol=1e-5, rtol=0)
        torch.testing.assert_close(targets.sum(1), torch.ones(4))


def test_mixup_blends_every_voxel_alike_and_cutmix_keeps_each_as_it_was_in_one_of_two_scans():
    for epoch in range(20):
        blended, cut = mixed(Mixer(mixup=1.0), epoch)[0], mixed(Mixer(cutmix=1.0), epoch)[0]
        for row in range(4):
            assert len(blended[row].unique()) == 1
            found = cut[row].unique().tolist()
            assert len(found) <= 2 and set(found) <= {0.0, 1.0, 2.0, 3.0}


def test_cutmix_pastes_one_box_into_all_channels():
    volumes, _ = mixed(Mixer(cutmix=1.0), epoch=3)
    for row in range(4):
        foreign = volumes[row] != row
        assert torch.equal(foreign[0], foreign[1])
        where = foreign[0].nonzero()
        box = (where.amax(0) - where.amin(0) + 1).prod() if len(where) else torch.tensor(0)
        assert int(box) == len(where)


def test_the_share_kept_follows_its_beta_distribution():
    kept = [float(mixed(Mixer(mixup=0.4), epoch)[1][0, 0]) for epoch in range(600)]
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
    assert np.mean(kept) == pytest.approx(0.5, abs=0.05)
    assert np.var(kept) == pytest.approx(1 / (4 * 1.8), abs=0.02)


def test_choices_depend_on_seed_epoch_and_scan_alone():
    mixer = Mixer(mixup=1.0, seed=5)
    weights = mixed(mixer)[1]
    assert torch.equal(mixed(mixer)[1], weights)
    # What scan a keeps of itself stays the same beside other scans; another seed or epoch changes it.
    assert mixed(mixer, rows=(2, 0))[1][1, 0] == weights[0, 0]
    assert mixed(Mixer(mixup=1.0, seed=6))[1][0, 0] != weights[0, 0]
    assert mixed(mixer, epoch=1)[1][0, 0] != weights[0, 0]


def test_nothing_is_mixed_where_it_is_off_or_there_is_no_partner_and_the_batch_stays():
    before = VOLUMES.clone()
    for mixer, rows in ((Mixer(), (0, 1, 2, 3)), (Mixer(mixup=1.0, cutmix=1.0), (2,))):
        volumes, targets = mixed(mixer, rows=rows)
        assert torch.equal(volumes, VOLUMES[list(rows)]) and torch.equal(targets, TARGETS[list(rows)])
    mixed(Mixer(mixup=1.0, cutmix=1.0))
    assert torch.equal(VOLUMES, before)


def test_partners_are_drawn_over_the_whole_batch_and_never_the_scan_itself():
    partners = {int(column) for epoch in range(40) for column in mixed(Mixer(mixup=1.0), epoch)[1][0].nonzero().ravel()}
    assert partners == {0, 1, 2, 3}
    assert all(len(mixed(Mixer(mixup=1.0), epoch)[1][0].nonzero()) == 2 for epoch in range(40))
