"""Functions on the Gaussian benchmarks' images: Bayes classifiers and trained networks, each with a tangent space."""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench import benchmarks
from pagbench.densities.gaussian_mixture import GaussianMixture, LinearSpan
from pagbench.models import registry
from pagbench.models.controls import BayesClassifier
from pagbench.studies.theory import published

_IMAGES = 4


class Subject(NamedTuple):
    """A classifier in float64, the class whose log-odds are f, and a tangent basis, at some images."""

    title: str
    classifier: nn.Module
    x: Float[Tensor, "b c h w"]
    labels: Int[Tensor, "b"]
    basis: Float[Tensor, "b d k"]


def two_densities() -> GaussianMixture:
    """Two of the classes of `gaussians`, whose log-odds are quadratic."""
    classes = published.gaussian_classes("gaussians")
    return GaussianMixture(replace(classes, means=classes.means[:2], variances=classes.variances[:2]))


def two_classes() -> Subject:
    """Their Bayes classifier, in a tangent space that misses half of the span; in the span all would be 0."""
    return _bayes("two classes", two_densities(), "gaussians", _half_span())


def four_classes() -> Subject:
    """The Bayes classifier of `gaussians`, in the same tangent space."""
    density = GaussianMixture(published.gaussian_classes("gaussians"))
    bayes = _bayes("four classes", density, "gaussians", _half_span())
    return bayes._replace(labels=published.images("gaussians", _IMAGES).labels)


def one_covariance() -> Subject:
    """The Bayes classifier of `gaussians-off-span`, whose log-odds are linear, in the span."""
    classes = published.gaussian_classes("gaussians-off-span")
    return _bayes("one covariance", GaussianMixture(classes), "gaussians-off-span", LinearSpan(classes.basis))


def network(name: str) -> Subject:
    """A network trained on `gaussians`, in the span."""
    images = published.images("gaussians", _IMAGES)
    x = images.images.double()
    classifier = registry.find(name).load(benchmarks.load("gaussians")).classifier.double()
    basis = LinearSpan(published.gaussian_classes("gaussians").basis).tangent_basis(x)
    return Subject(f"network {name.partition('/')[2]}", classifier, x, images.labels, basis)


def _bayes(title: str, density: GaussianMixture, name: str, manifold: LinearSpan) -> Subject:
    """Its log-odds are those of the second class."""
    x = published.images(name, _IMAGES).images.double()
    labels = torch.ones(len(x), dtype=torch.long)
    classifier = BayesClassifier(density, benchmarks.load(name).sigma)
    return Subject(f"Bayes, {title}", classifier, x, labels, manifold.tangent_basis(x))


def _half_span() -> LinearSpan:
    basis = published.gaussian_classes("gaussians").basis
    return LinearSpan(basis[:, : basis.shape[1] // 2])
