"""What the strict gradient must not see, in closed form and on networks whose backward pass is none."""

import pytest
import torch
from torch import nn

from pagbench.data import Dataset
from pagbench.submissions import check_network


def shown(classes, count=8):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 4, 4, generator=generator)
    return Dataset(tuple(map(str, range(count))), images, torch.arange(count) % classes)


def network(classes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, classes))


class _Signs(torch.autograd.Function):
    """The identity, whose backward pass gives signs: no gradient of anything."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.sign()


class Masked(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return _Signs.apply(self.inner(x))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_honest_networks_keep_both(classes):
    for judge in (check_network.check_added_term, check_network.check_temperature):
        finding = judge(network(classes), shown(classes))
        assert finding.level == "ok", finding


def test_between_two_classes_a_temperature_turns_nothing_and_among_more_it_may():
    assert "of at least 1.00 with" in check_network.check_temperature(network(2), shown(2)).message
    sharp = network(10)
    sharp[-1].weight.data *= 30
    assert "of at least 1.00 with" not in check_network.check_temperature(sharp, shown(10)).message


def test_the_paper_protocols_gradient_would_not_pass():
    """Without the softmax's invariance the same term shows: the judge can tell."""
    from pagbench import geometry

    inner, some = network(10), shown(10)
    slope = torch.ones(1, 4, 4)

    def shifted(x):
        return check_network.add_term(inner, x, slope, 1.0)

    plain, moved = (geometry.ForwardPass(each, some.images).logit_gradient(some.labels) for each in (inner, shifted))
    assert torch.allclose(moved - plain, slope.expand_as(plain), atol=1e-6)
    assert check_network.relative_change(plain, moved) > 0.1


@pytest.mark.parametrize("judge", [check_network.check_added_term, check_network.check_temperature])
def test_what_float32_cannot_hold_is_found(judge):
    """Logits that share 10^6 are the same network on paper, and another in float32."""
    inner = network(10)
    inner[-1].bias.data += 1e6
    assert judge(inner, shown(10)).level == "error"


def test_a_backward_pass_that_is_no_derivative_is_found():
    assert check_network.check_temperature(Masked(network(10)), shown(10)).level == "error"


def test_a_network_without_a_gradient_is_told():
    constant = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    constant[-1].weight.data.zero_()
    assert check_network.check_added_term(constant, shown(3)).level == "warning"
