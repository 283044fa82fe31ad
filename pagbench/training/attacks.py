"""Projected gradient descent with a budget per example."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def _unit(v: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return v / v.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]


def pgd_l2(
    network: nn.Module,
    x: Float[Tensor, "b c h w"],
    y: Int[Tensor, "b"],
    *,
    epsilon: float,
    generator: torch.Generator,
    steps: int = 5,
) -> Float[Tensor, "b c h w"]:
    """Raises the cross-entropy within ‖x' - x‖₂ ≤ epsilon for every image (Madry et al. 2018, arXiv 1706.06083).

    Random start in the ball, `steps` normalised steps of 2·epsilon/steps, clipped to [0, 1]. Parameters get no
    gradient and normalisation layers see no attack batch: the network is in eval mode meanwhile.
    """
    was_training = network.training
    network.eval()
    radius = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) ** (1 / x[0].numel())
    start = _unit(torch.randn(x.shape, generator=generator, device=x.device))
    delta = epsilon * radius * start
    for _ in range(steps):
        moved = (x + delta).detach().requires_grad_(True)
        losses = nn.functional.cross_entropy(network(moved), y, reduction="sum")
        (gradient,) = torch.autograd.grad(losses, moved)
        delta = delta + (2 * epsilon / steps) * _unit(gradient)
        delta = delta * (epsilon / delta.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1)[:, None, None, None]
        delta = (x + delta).clamp(0, 1) - x
    network.train(was_training)
    return (x + delta).detach()
