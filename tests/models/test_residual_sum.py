import pytest
import torch

from pipeline.models.residual_sum import ResidualSum


def maps(size: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(8, 4, *size, dtype=dtype, requires_grad=True) for _ in range(2)]


def residual(drop_path_rate: float = 0.0, start: float = 0.3) -> ResidualSum:
    return ResidualSum(4, layer_scale_init_value=start, drop_path_rate=drop_path_rate).double()


@pytest.mark.parametrize("size", [(3, 5), (2, 3, 4)])
def test_values_and_gradients_of_any_order_are_those_of_the_formula(size) -> None:
    module, (x, branch) = residual(), maps(size)
    with torch.no_grad():
        module.scale.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0]))
    scale = module.scale.detach().clone().requires_grad_()
    expected = x + scale.view(-1, *[1] * len(size)) * branch
    torch.testing.assert_close(module(x, branch), expected)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((module(x, branch) * weight).sum(), [x, branch, module.scale])
    theirs = torch.autograd.grad((expected * weight).sum(), [x, branch, scale])
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradgradcheck(module, (x, branch))


def test_a_dropped_branch_leaves_its_scan_as_it_was_and_a_kept_one_is_scaled_up() -> None:
    module, (x, branch) = residual(drop_path_rate=0.5).train(), maps((2, 2, 2))
    torch.manual_seed(1)
    added = (module(x, branch) - x) / branch
    kept = added.flatten(1).mean(1)
    torch.testing.assert_close(added, kept.view(-1, 1, 1, 1, 1).expand_as(added))
    assert {round(value, 6) for value in kept.tolist()} == {0.0, 0.6}
    gradient = torch.autograd.grad(module(x, branch).sum(), branch)[0].flatten(1)
    assert {round(value, 6) for value in gradient.mean(1).tolist()} == {0.0, 0.6}


def test_a_branch_in_half_precision_gets_its_gradient_in_half_precision() -> None:
    module, (x, branch) = residual().float(), maps((2, 2, 2), torch.float32)
    half = branch.detach().bfloat16().requires_grad_()
    module(x, half).sum().backward()
    assert half.grad.dtype == torch.bfloat16
    expected = half.detach().float().sum((0, 2, 3, 4))
    torch.testing.assert_close(module.scale.grad, expected, rtol=1e-2, atol=1e-2)
