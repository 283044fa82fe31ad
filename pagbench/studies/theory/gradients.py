"""Gradients of Bayes classifiers and the part of them that leaves the tangent space."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry
from pagbench.densities.scores import ClassMixture
from pagbench.models.controls import BayesClassifier


def bayes_gradient(
    density: ClassMixture, sigma: float, x: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"]
) -> Float[Tensor, "b c h w"]:
    """Of the log-odds of the Bayes classifier, by autograd as for any network; parallel to s(x|y) - s(x).

    Args:
        density: class densities.
        sigma: blur, pixel units.
        x: images in float64, for the gradient has their precision.
        labels: classes whose log-odds are taken.
    """
    return geometry.log_odds_gradient(BayesClassifier(density, sigma), x, labels).gradient


def normal_part(basis: Float[Tensor, "b d k"], v: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
    """(I - P) v."""
    flat = v.flatten(1)
    return flat - geometry.project(basis, flat)


def normal_fraction(basis: Float[Tensor, "b d k"], v: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """‖(I - P) v‖/‖v‖, in [0, 1]; its square is 1 - `geometry.tangent_energy`, without that difference's rounding."""
    return normal_part(basis, v).norm(dim=1) / v.flatten(1).norm(dim=1)


def slope(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> float:
    """Of log y against log x, by least squares."""
    centred = x.log() - x.log().mean()
    return float((centred * y.log()).sum() / centred.square().sum())


def worst(found: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"]) -> float:
    """The largest relative deviation of positive numbers from what is expected of them."""
    return float((found / expected - 1).abs().max())


def noise(seed: int, *shape: int) -> Float[Tensor, "*shape"]:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
