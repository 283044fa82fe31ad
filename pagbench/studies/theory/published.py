"""The published benchmarks that the experiments use, with the kind of data set that each has."""

from pagbench import benchmarks, data
from pagbench.data import gaussians, sphere
from pagbench.data.gaussians import GaussianClasses, GaussiansCard
from pagbench.data.sphere import SphereCard, SphereClasses


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
