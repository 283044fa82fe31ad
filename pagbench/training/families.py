"""Families of regularised training: each is a loss of (network, images, labels) with one strength."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench.training.attacks import pgd_l2

Images = Float[Tensor, "b c h w"]
Labels = Int[Tensor, "b"]
Loss = Callable[[nn.Module, Images, Labels, torch.Generator], Float[Tensor, ""]]

_SMOOTHNESS_STD = 0.1


def _noise(x: Images, std: float, generator: torch.Generator) -> Images:
    return std * torch.randn(x.shape, generator=generator, device=x.device)


def cross_entropy(strength: float) -> Loss:
    """No regularisation; the strength has no effect."""

    def loss(network: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(network(x), y)

    return loss


def gradient_norm(strength: float) -> Loss:
    """Cross-entropy + strength · mean over examples of ‖∇x CE‖² (Drucker & Le Cun 1992).

    The mean is over per-example gradients, so the strength does not depend on the batch size.
    """

    def loss(network: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Tensor:
        x = x.detach().clone().requires_grad_(True)
        losses = nn.functional.cross_entropy(network(x), y, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        return losses.mean() + strength * gradient.flatten(1).square().sum(1).mean()

    return loss


def noise_augmentation(strength: float) -> Loss:
    """Cross-entropy on images with Gaussian noise of standard deviation strength, pixel units."""

    def loss(network: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(network(x + _noise(x, strength, generator)), y)

    return loss


def smoothness(strength: float) -> Loss:
    """Cross-entropy + strength · mean ‖f(x + n) - f(x)‖², f the logits, n Gaussian of standard deviation 0.1."""

    def loss(network: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Tensor:
        logits = network(x)
        moved = network(x + _noise(x, _SMOOTHNESS_STD, generator))
        return nn.functional.cross_entropy(logits, y) + strength * (moved - logits).square().sum(1).mean()

    return loss


def adversarial(strength: float) -> Loss:
    """Cross-entropy on PGD examples within an L2 ball of radius strength around each image (Madry et al. 2018)."""

    def loss(network: nn.Module, x: Images, y: Labels, generator: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(network(pgd_l2(network, x, y, epsilon=strength, generator=generator)), y)

    return loss


class Family(NamedTuple):
    """A way to train: its loss, what its strength means, and whether the network is smoothed when it is used."""

    loss: Callable[[float], Loss]
    unit: str
    smoothed: bool = False


FAMILIES: dict[str, Family] = {
    "standard": Family(cross_entropy, "none"),
    "gradient-norm": Family(gradient_norm, "weight of the mean squared input-gradient norm"),
    "noise": Family(noise_augmentation, "noise standard deviation, pixel units"),
    "smoothness": Family(smoothness, "weight of the mean squared change of the logits"),
    "adversarial": Family(adversarial, "L2 budget per image, pixel units"),
    "smoothing": Family(
        noise_augmentation, "noise standard deviation of training and smoothing, pixel units", smoothed=True
    ),
}
