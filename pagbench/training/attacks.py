"""Projected gradient descent with a budget per example."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench.geometry import Norm, into_ball, steepest


def _start(x: Float[Tensor, "b c h w"], epsilon: float, norm: Norm, generator: torch.Generator) -> Tensor:
    """Uniform in the ball."""
    if norm == "linf":
        return epsilon * (2 * torch.rand(x.shape, generator=generator, device=x.device) - 1)
    radius = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) ** (1 / x[0].numel())
    direction = torch.randn(x.shape, generator=generator, device=x.device)
    return epsilon * radius * steepest(direction, norm)


def pgd(
    network: nn.Module,
    x: Float[Tensor, "b c h w"],
    y: Int[Tensor, "b"],
    *,
    epsilon: float,
    generator: torch.Generator,
    norm: Norm = "l2",
    steps: int = 5,
) -> Float[Tensor, "b c h w"]:
    """Raises the cross-entropy within ‖x' - x‖ ≤ epsilon for every image (Madry et al. 2018, arXiv 1706.06083).

    Random start in the ball, `steps` steepest steps of 2·epsilon/steps, clipped to [0, 1]. Parameters get no gradient
    and normalisation layers see no attack batch: the network is in eval mode meanwhile.

    Args:
        network: pixels in [0, 1] → logits.
        x: images.
        y: their classes.
        epsilon: budget of each image, in pixel units: an L2 length, or the largest change of a pixel.
        generator: of the random start, on the device of `x`.
        norm: l2 or linf.
        steps: gradient steps.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    delta = _start(x, epsilon, norm, generator)
    for _ in range(steps):
        moved = (x + delta).detach().requires_grad_(True)
        losses = nn.functional.cross_entropy(network(moved), y, reduction="sum")
        (gradient,) = torch.autograd.grad(losses, moved)
        delta = into_ball(delta + (2 * epsilon / steps) * steepest(gradient, norm), epsilon, norm)
        delta = (x + delta).clamp(0, 1) - x
    for module, training in modes:
        module.training = training
    return (x + delta).detach()
