"""What the strict gradient must not see, on networks with known gradients."""

import pytest
import torch
from torch import nn

from pagbench import geometry


def images(count=8):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(classes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, classes)).double()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_term_that_all_logits_share_changes_no_gradient(classes):
    """It changes that of a logit alone, so that the comparison can tell."""
    net, x, labels = network(classes), images(), torch.arange(8) % classes
    slope = torch.linspace(-5, 5, 16, dtype=torch.float64).reshape(1, 4, 4)

    def shifted(x):
        return net(x) + (x * slope).flatten(1).sum(1, keepdim=True) + 3

    plain, moved = (geometry.log_odds_gradient(f, x, labels).gradient for f in (net, shifted))
    torch.testing.assert_close(moved, plain, rtol=1e-9, atol=1e-12)
    plain, moved = (geometry.ForwardPass(f, x).logit_gradient(labels) for f in (net, shifted))
    torch.testing.assert_close(moved - plain, slope.expand_as(plain))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_turns_it_only_among_more_than_two_classes(temperature):
    """T times the gradient is that of z_y - Σ w_j z_j, with w the softmax of the rivals' logits over T."""
    for classes in (2, 10):
        net, x, labels = network(classes), images(), torch.arange(8) % classes
        net[-1].weight.data *= 30
        plain = geometry.log_odds_gradient(net, x, labels).gradient
        cooled = temperature * geometry.log_odds_gradient(lambda x, net=net: net(x) / temperature, x, labels).gradient
        rivals = net(x).detach().scatter(1, labels[:, None], -torch.inf)
        weight = (rivals / temperature).softmax(1)

        def mixed(x, net=net, weight=weight, labels=labels):
            z = net(x)
            return torch.stack([(weight * z).sum(1), z.gather(1, labels[:, None])[:, 0]], dim=1)

        expected = geometry.log_odds_gradient(mixed, x, torch.ones_like(labels)).gradient
        torch.testing.assert_close(cooled, expected, rtol=1e-9, atol=1e-12)
        assert torch.allclose(cooled, plain, rtol=1e-6) == (classes == 2)
