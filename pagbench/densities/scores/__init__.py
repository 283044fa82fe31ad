"""Score models: gradients of the log-density of data blurred with Gaussian noise."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import DistractorCard, GaussiansCard, SamplesCard, ScoreCard, SphereCard
from pagbench.data import Dataset, distractor, gaussians, sphere
from pagbench.densities.scores import adm, diffusion, edm, pipelines
from pagbench.densities.scores.class_mixture import ClassMixture
from pagbench.densities.scores.empirical import EmpiricalDensity
from pagbench.densities.scores.gaussian_mixture import GaussianMixture
from pagbench.densities.scores.network import NetworkScore
from pagbench.densities.scores.resized import ResizedScore
from pagbench.densities.scores.signal_distractor import SignalDistractor
from pagbench.densities.scores.some_classes import SomeClasses
from pagbench.densities.scores.streamed import StreamedEmpiricalDensity
from pagbench.densities.scores.von_mises_fisher import VonMisesFisherMixture
from pagbench.errors import CardError
from pagbench.storage import assets

__all__ = [
    "ClassMixture",
    "EmpiricalDensity",
    "GaussianMixture",
    "NetworkScore",
    "ResizedScore",
    "ScoreModel",
    "SignalDistractor",
    "SomeClasses",
    "StreamedEmpiricalDensity",
    "VonMisesFisherMixture",
    "build",
    "is_network",
    "load",
    "load_mixture",
    "load_second",
]

_RESIDENT = 2**26
"""Pixels of a training set that are held in float64, half a gigabyte; a larger one is streamed."""


@runtime_checkable
class ScoreModel(Protocol):
    """The contract of every score model, in pixel units."""

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Gradient of log (p * N(0, sigma² I)) at x, or of the density of one class per image.

        Args:
            x: pixels, any real values.
            sigma: standard deviation of the blur, pixel units.
            labels: classes to condition on; None for the density of all data.
        """
        ...


def load(benchmark: Benchmark, train: Dataset) -> ScoreModel:
    """Builds the score model that a benchmark's card names; an exact one on the training split only.

    Raises:
        CardError: the score model does not fit the data set.
        WeightsError: its weights are missing or altered.
    """
    return build(benchmark.score, benchmark, train)


def load_second(benchmark: Benchmark, train: Dataset) -> ScoreModel:
    """Builds the second score model that a benchmark's card names.

    Raises:
        CardError: the benchmark has none, or it does not fit the data set.
        WeightsError: its weights are missing or altered.
    """
    if benchmark.second is None:
        raise CardError(f"{benchmark.label}: has no second score model")
    return build(benchmark.second.score, benchmark, train)


def load_mixture(benchmark: Benchmark, train: Dataset) -> ClassMixture:
    """The benchmark's score model where it is a density with class posteriors, as the Bayes classifier needs.

    Raises:
        CardError: it is a network, which has no posteriors; or it does not fit the data set.
    """
    score = load(benchmark, train)
    if not isinstance(score, ClassMixture):
        raise CardError(
            f"{benchmark.label}: score model {benchmark.score.kind!r} has no class posteriors, hence no Bayes "
            "classifier; leave out the controls made of it"
        )
    return score


def build(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> ScoreModel:
    """Builds any score model for the images of a benchmark.

    Raises:
        CardError: the score model does not fit the data set.
        WeightsError: its weights are missing or altered.
    """
    if card.kind in _NETWORKS:
        return _fitting(_NETWORKS[card.kind](card), card, benchmark)
    data = benchmark.dataset
    if card.kind == "empirical" and isinstance(data, SamplesCard):
        present, labels = train.labels.unique(return_inverse=True)
        return SomeClasses(EmpiricalDensity(train.images, labels, classes=len(present)), present, benchmark.classes)
    if card.kind == "empirical":
        density = StreamedEmpiricalDensity if train.images.numel() > _RESIDENT else EmpiricalDensity
        return density(train.images, train.labels, classes=benchmark.classes)
    if card.kind == "gaussian-mixture" and isinstance(data, GaussiansCard):
        return GaussianMixture(gaussians.parameters(data))
    if card.kind == "von-mises-fisher" and isinstance(data, SphereCard):
        return VonMisesFisherMixture(sphere.parameters(data))
    if card.kind == "signal-distractor" and isinstance(data, DistractorCard):
        return _signal_distractor(benchmark, train)
    raise CardError(f"{benchmark.label}: score model {card.kind!r} does not fit data set {data.kind!r}")


def _diffusion(card: ScoreCard) -> NetworkScore:
    assert card.weights is not None  # by the card's validation, as below
    return diffusion.read(assets.find(card.weights), card.weights_sha256)


def _diffusers(card: ScoreCard) -> NetworkScore:
    assert card.repository is not None
    return pipelines.read(card.repository, sha256=card.weights_sha256, null_label=card.null_label)


def _adm(card: ScoreCard) -> NetworkScore:
    assert card.architecture is not None and card.download is not None
    return adm.read(card.architecture, card.download[0])


def _edm(card: ScoreCard) -> NetworkScore:
    assert card.download is not None
    return edm.read(card.download[0])


_NETWORKS: dict[str, Callable[[ScoreCard], NetworkScore]] = {
    "diffusion": _diffusion,
    "diffusers": _diffusers,
    "adm": _adm,
    "edm": _edm,
}


def is_network(card: ScoreCard) -> bool:
    """Whether the score model is a network, whose weights have a hash; others are closed forms."""
    return card.kind in _NETWORKS


def _fitting(network: NetworkScore, card: ScoreCard, benchmark: Benchmark) -> ScoreModel:
    """The network for the benchmark's images, behind a resizing where the card wants one."""
    channels, *sides = network.input_shape
    if card.resolution is None and network.input_shape == benchmark.input_shape:
        return network
    if channels == benchmark.input_shape[0] and sides == [card.resolution] * 2:
        return ResizedScore(network, card.resolution or 0)
    raise CardError(
        f"{benchmark.label}: score model {card.kind!r} is for images of {network.input_shape}, the benchmark has "
        f"{benchmark.input_shape}, and its card's resolution is {card.resolution}; give the network's side there"
    )


def _signal_distractor(benchmark: Benchmark, train: Dataset) -> SignalDistractor:
    glyphs = distractor.glyphs()
    signal = EmpiricalDensity(distractor.signals(train.images, glyphs), train.labels, classes=benchmark.classes)
    return SignalDistractor(signal, EmpiricalDensity(glyphs, torch.zeros(len(glyphs), dtype=torch.long), classes=1))
