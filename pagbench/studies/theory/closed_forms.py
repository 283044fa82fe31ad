"""What experiments are made of: published benchmarks, Bayes classifiers and their gradients, in closed form."""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import benchmarks, data, geometry
from pagbench.data import gaussians, sphere
from pagbench.data.gaussians import GaussianClasses, GaussiansCard
from pagbench.data.sphere import SphereCard, SphereClasses
from pagbench.densities.gaussian_mixture import GaussianMixture, LinearSpan
from pagbench.densities.scores import ClassMixture
from pagbench.models import registry
from pagbench.models.controls import BayesClassifier

_IMAGES = 4


def gaussian_card(name: str) -> GaussiansCard:
    """The data set of a Gaussian benchmark."""
    card = benchmarks.load(name).dataset
    assert isinstance(card, GaussiansCard)  # by its definition
    return card


def gaussian_classes(name: str) -> GaussianClasses:
    """Its distribution."""
    return gaussians.parameters(gaussian_card(name))


def sphere_classes() -> SphereClasses:
    """The distribution of the sphere benchmark."""
    card = benchmarks.load("sphere").dataset
    assert isinstance(card, SphereCard)  # by its definition
    return sphere.parameters(card)


def images(name: str, count: int | None = None) -> data.Dataset:
    """The first test images of a benchmark, all by default."""
    benchmark = benchmarks.load(name)
    return data.splits(benchmark).test.select(benchmark.samples[:count])


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


def worst(measured: Float[Tensor, "*shape"], expected: Float[Tensor, "*shape"]) -> float:
    """The largest relative deviation of positive numbers from what is expected of them."""
    return float((measured / expected - 1).abs().max())


def noise(seed: int, *shape: int) -> Float[Tensor, "*shape"]:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Subject(NamedTuple):
    """A classifier in float64, the class whose log-odds are f, and a tangent basis, at some images."""

    title: str
    classifier: nn.Module
    x: Float[Tensor, "b c h w"]
    labels: Int[Tensor, "b"]
    basis: Float[Tensor, "b d k"]


def two_densities() -> GaussianMixture:
    """Two of the classes of `gaussians`, whose log-odds are quadratic."""
    classes = gaussian_classes("gaussians")
    return GaussianMixture(replace(classes, means=classes.means[:2], variances=classes.variances[:2]))


def two_classes() -> Subject:
    """Their Bayes classifier, in a tangent space that misses half of the span; in the span all would be 0."""
    return _bayes("two classes", two_densities(), "gaussians", _half_span())


def four_classes() -> Subject:
    """The Bayes classifier of `gaussians`, in the same tangent space."""
    density = GaussianMixture(gaussian_classes("gaussians"))
    bayes = _bayes("four classes", density, "gaussians", _half_span())
    return bayes._replace(labels=images("gaussians", _IMAGES).labels)


def one_covariance() -> Subject:
    """The Bayes classifier of `gaussians-off-span`, whose log-odds are linear, in the span."""
    classes = gaussian_classes("gaussians-off-span")
    return _bayes("one covariance", GaussianMixture(classes), "gaussians-off-span", LinearSpan(classes.basis))


def network(name: str) -> Subject:
    """A network trained on `gaussians`, in the span."""
    shown = images("gaussians", _IMAGES)
    x = shown.images.double()
    classifier = registry.find(name).load(benchmarks.load("gaussians")).classifier.double()
    basis = LinearSpan(gaussian_classes("gaussians").basis).tangent_basis(x)
    return Subject(f"network {name.partition('/')[2]}", classifier, x, shown.labels, basis)


def _bayes(title: str, density: GaussianMixture, name: str, manifold: LinearSpan) -> Subject:
    """Its log-odds are those of the second class."""
    x = images(name, _IMAGES).images.double()
    labels = torch.ones(len(x), dtype=torch.long)
    classifier = BayesClassifier(density, benchmarks.load(name).sigma)
    return Subject(f"Bayes, {title}", classifier, x, labels, manifold.tangent_basis(x))


def _half_span() -> LinearSpan:
    basis = gaussian_classes("gaussians").basis
    return LinearSpan(basis[:, : basis.shape[1] // 2])
