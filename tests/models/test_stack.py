"""A stack as one network."""

import pytest
import torch

from pipeline.models import build_model

MEMBERS = {
    "conv": {"name": "random_conv3d", "options": {"num_kernels": 8}},
    "resnet": {
        "name": "resnet18",
        "options": {"depths": [1, 1, 1, 1], "dims": [4, 4, 8, 8]},
        "volume": {"mode": "slicewise", "pooling": "mean"},
    },
    "shape": {"name": "shape_measures", "options": {"spacing_mm": [2.0, 1.0, 1.0]}},
}


@pytest.fixture
def stack():
    torch.manual_seed(0)
    return build_model("stack", members=MEMBERS, num_classes=3, freeze=True).eval()


@pytest.fixture
def volumes():
    return torch.rand(2, 1, 10, 20, 24, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_logits_are_the_sum_of_what_each_member_adds(stack, volumes):
    embedding = stack.forward_features(volumes)
    parts = stack.member_logits(embedding)
    assert list(parts) == list(MEMBERS)
    torch.testing.assert_close(sum(parts.values()) + stack.head.bias, stack(volumes))
    outputs = stack.forward_stages(volumes)
    torch.testing.assert_close(outputs.logits, stack(volumes))
    # Of the member that has maps, which comes second here.
    assert [stage.shape[1] for stage in outputs.stages] == [4, 4, 8, 8]


@torch.no_grad()
def test_members_are_the_networks_that_they_are_alone(stack, volumes):
    alone = build_model("random_conv3d", num_kernels=8, num_classes=0, freeze=True)
    torch.testing.assert_close(stack.members["conv"](volumes), alone(volumes))


@torch.no_grad()
def test_a_member_without_a_weight_is_not_computed_and_changes_nothing(stack, volumes):
    start, width = stack.widths[0], stack.widths[1]
    stack.head.weight[:, start : start + width] = 0
    expected = stack(volumes)
    stack.member_weights[1] = 0
    stack.members["resnet"].register_forward_hook(lambda *_: pytest.fail("a member without a weight was computed"))
    torch.testing.assert_close(stack(volumes), expected)
    # The others have no maps.
    assert stack.mapped_member == "conv"


def test_only_the_head_is_trainable(stack):
    assert [name for name, parameter in stack.named_parameters() if parameter.requires_grad] == [
        "head.weight",
        "head.bias",
    ]


def test_a_map_has_the_gradient_of_the_member_that_has_maps(stack, volumes):
    stages, gradients = stack.stage_gradients(volumes[:1].requires_grad_(), 1)
    assert gradients[-1].abs().max() > 0 and gradients[-1].shape == stages[-1].shape


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"conv": MEMBERS["conv"]}, "two members or more, got conv"),
        ({**MEMBERS, "odd": {"options": {}}}, "stack member 'odd': expected the name of a model"),
        ({**MEMBERS, "odd": {"name": "resnet18", "volum": "slab"}}, "Did you mean 'volume'"),
    ],
)
def test_wrong_members_are_named(members, problem):
    with pytest.raises(ValueError, match=problem):
        build_model("stack", members=members, freeze=True)


@pytest.mark.parametrize("name", ["stack", "shape_measures", "random_conv3d", "coarse_volume"])
def test_what_never_learns_is_not_trained(name):
    options = {"members": MEMBERS} if name == "stack" else {}
    with pytest.raises(ValueError, match="set model.freeze: true"):
        build_model(name, **options)
