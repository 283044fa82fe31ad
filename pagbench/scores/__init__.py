"""Score models: gradients of the log-density of data blurred with Gaussian noise."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import assets
from pagbench.benchmarks import Benchmark
from pagbench.cards import DistractorCard, GaussiansCard, SphereCard
from pagbench.data import Dataset, distractor, gaussians, sphere
from pagbench.errors import CardError
from pagbench.scores import diffusion
from pagbench.scores.class_mixture import ClassMixture
from pagbench.scores.empirical import EmpiricalDensity
from pagbench.scores.gaussian_mixture import GaussianMixture
from pagbench.scores.signal_distractor import SignalDistractor
from pagbench.scores.von_mises_fisher import VonMisesFisherMixture

__all__ = [
    "ClassMixture",
    "EmpiricalDensity",
    "GaussianMixture",
    "ScoreModel",
    "SignalDistractor",
    "VonMisesFisherMixture",
    "load",
]


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


def load_second(benchmark: Benchmark, train: Dataset) -> ScoreModel:
    """Builds the second score model that a benchmark's card names.

    Raises:
        CardError: the benchmark has none, or it does not fit the data set.
        WeightsError: its weights are missing or altered.
    """
    if benchmark.second is None:
        raise CardError(f"{benchmark.label}: has no second score model")
    card = benchmark.second.score
    if card.kind == "diffusion":
        assert card.weights is not None  # by the card's validation
        return diffusion.read(assets.find(card.weights), card.weights_sha256)
    return load(benchmark.model_copy(update={"score": card}), train)


def load(benchmark: Benchmark, train: Dataset) -> ClassMixture:
    """Builds the score model that a benchmark's card names, on the training split only.

    Raises:
        CardError: the score model does not fit the data set.
    """
    kind, data = benchmark.score.kind, benchmark.dataset
    if kind == "empirical":
        return EmpiricalDensity(train.images, train.labels, classes=benchmark.classes)
    if kind == "gaussian-mixture" and isinstance(data, GaussiansCard):
        return GaussianMixture(gaussians.parameters(data))
    if kind == "von-mises-fisher" and isinstance(data, SphereCard):
        return VonMisesFisherMixture(sphere.parameters(data))
    if kind == "signal-distractor" and isinstance(data, DistractorCard):
        return _signal_distractor(benchmark, train)
    raise CardError(f"{benchmark.label}: score model {kind!r} does not fit data set {data.kind!r}")


def _signal_distractor(benchmark: Benchmark, train: Dataset) -> SignalDistractor:
    glyphs = distractor.glyphs()
    signal = EmpiricalDensity(distractor.signals(train.images, glyphs), train.labels, classes=benchmark.classes)
    return SignalDistractor(signal, EmpiricalDensity(glyphs, torch.zeros(len(glyphs), dtype=torch.long), classes=1))
