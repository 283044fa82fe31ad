"""Families of regularised training: each is a loss of (network, minibatch, generator) with one strength."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import geometry
from pagbench.geometry import Norm, into_ball, steepest
from pagbench.training.recipe import Loss, Minibatch

_SMOOTHNESS_STD = 0.1


def _noisy(x: Float[Tensor, "b c h w"], std: float, generator: torch.Generator) -> Float[Tensor, "b c h w"]:
    return x + std * torch.randn(x.shape, generator=generator, device=x.device)


def cross_entropy(strength: float) -> Loss:
    """No regularisation; the strength has no effect."""

    def loss(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(network(batch.images), batch.labels)

    return loss


def gradient_norm(strength: float) -> Loss:
    """Cross-entropy + strength · mean over examples of ‖∇x CE‖² (Drucker & Le Cun 1992; arXiv 2305.19101).

    The mean is over per-example gradients, so the strength does not depend on the batch size. (With batch norm in train
    mode an example's gradient also contains what it does to the others' losses through the batch statistics.)
    """

    def loss(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
        x = batch.images.detach().clone().requires_grad_(True)
        losses = nn.functional.cross_entropy(network(x), batch.labels, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        return losses.mean() + strength * gradient.flatten(1).square().sum(1).mean()

    return loss


def noise_augmentation(strength: float) -> Loss:
    """Cross-entropy on images with Gaussian noise of standard deviation strength, pixel units (Bishop 1995)."""

    def loss(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(network(_noisy(batch.images, strength, generator)), batch.labels)

    return loss


def smoothness(strength: float) -> Loss:
    """Cross-entropy + strength · mean ‖f(x + n) - f(x)‖², f the logits, n Gaussian of std 0.1 (arXiv 2305.19101)."""

    def loss(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
        logits = network(batch.images)
        moved = network(_noisy(batch.images, _SMOOTHNESS_STD, generator))
        fit = nn.functional.cross_entropy(logits, batch.labels)
        return fit + strength * (moved - logits).square().sum(1).mean()

    return loss


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


def adversarial(strength: float, norm: Norm = "l2") -> Loss:
    """Cross-entropy on PGD examples within a ball of radius strength around each image (Madry et al. 2018).

    In the norm `linf` the strength is the largest change of a pixel.
    """

    def loss(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
        attacked = pgd(network, batch.images, batch.labels, epsilon=strength, generator=generator, norm=norm)
        return nn.functional.cross_entropy(network(attacked), batch.labels)

    return loss


def score_matching(strength: float) -> Loss:
    """Cross-entropy + strength · mean (1 - cos(∇x log-odds, b)), b the Bayes target (after Ganz et al. 2023).

    Trains on what the benchmark measures; its cards say so. Source: arXiv 2207.11378.
    """

    def loss(network: nn.Module, batch: Minibatch, generator: torch.Generator) -> Tensor:
        assert batch.target is not None
        x = batch.images.detach().clone().requires_grad_(True)
        logits = network(x)
        log_odds = geometry.log_odds(logits, batch.labels)
        (gradient,) = torch.autograd.grad(log_odds.sum(), x, create_graph=True)
        similarity = nn.functional.cosine_similarity(gradient.flatten(1), batch.target.flatten(1))
        return nn.functional.cross_entropy(logits, batch.labels) + strength * (1 - similarity).mean()

    return loss


class Family(NamedTuple):
    """A way to train.

    Attributes:
        loss: makes the loss of a strength.
        unit: what the strength means.
        smoothed: whether the network is smoothed with noise of that strength when it is used.
        needs_target: whether the loss reads Bayes targets.
        note: what the card has to declare.
    """

    loss: Callable[[float], Loss]
    unit: str
    smoothed: bool = False
    needs_target: bool = False
    note: str = ""


FAMILIES: dict[str, Family] = {
    "standard": Family(cross_entropy, "none"),
    "gradient-norm": Family(gradient_norm, "weight of the mean squared input-gradient norm"),
    "noise": Family(noise_augmentation, "noise standard deviation, pixel units"),
    "smoothness": Family(smoothness, "weight of the mean squared change of the logits"),
    "adversarial": Family(adversarial, "L2 budget per image, pixel units"),
    "adversarial-linf": Family(partial(adversarial, norm="linf"), "largest change of a pixel"),
    "smoothing": Family(
        noise_augmentation, "noise standard deviation of training and smoothing, pixel units", smoothed=True
    ),
    "score-matching": Family(
        score_matching,
        "weight of 1 - cosine with the Bayes target",
        needs_target=True,
        note="trained on the benchmark's own target of the training split, leave-one-out; not of the paper's families",
    ),
}
