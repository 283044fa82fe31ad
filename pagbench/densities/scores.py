"""Score models: gradients of the log-density of data blurred with Gaussian noise.

`pagbench.cards.SCORE_MODELS` lists the kinds. The module of each has a function
`build_score(card, benchmark, train) -> ScoreModel`.
"""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import SCORE_MODELS, ScoreCard
from pagbench.data import Dataset
from pagbench.densities.network import NetworkScore, resized
from pagbench.errors import CardError


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


def flat_exact(x: Float[Tensor, "b c h w"], like: Tensor) -> Float[Tensor, "b d"]:
    """Flattened images in float64 on the parameters' device; moved before they are widened, for MPS has no float64."""
    return x.flatten(1).to(like.device).to(like.dtype)


class ClassMixture(ABC):
    """p(x) = Σ_c p(c) p(x|c), every p(x|c) blurred with N(0, sigma² I); exact, in float64.

    Subclasses give the two class-wise quantities; everything else follows from them.
    """

    @abstractmethod
    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c) = log p(c) + log p_sigma(x|c), differentiable in x."""

    @abstractmethod
    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """∇x log p_sigma(x|c) for every class."""

    @abstractmethod
    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Cov(x0 | x) of the clean image given the noisy one: sigma² times the denoiser's Jacobian."""

    def posterior_eigenvectors(
        self, x: Float[Tensor, "b c h w"], sigma: float, rank: int
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d k"]]:
        """The leading eigenvalues and eigenvectors of Cov(x0 | x), largest first.

        Args:
            x: images.
            sigma: noise level, pixel units.
            rank: how many, k.
        """
        values, vectors = torch.linalg.eigh(self.posterior_covariance(x, sigma))
        return values[:, -rank:].flip(1), vectors[:, :, -rank:].flip(2)

    def placed(self, dtype: torch.dtype, device: torch.device) -> "ClassMixture":
        """The same density computed in another precision and on another device; itself where it has no choice."""
        return self

    def leaving_one_out(self, dtype: torch.dtype, device: torch.device) -> "ClassMixture":
        """The density to use at its own training images: at each of them, that of all others.

        Itself where it does not consist of training images.

        Args:
            dtype: float32 is enough to train on, and faster.
            device: where to compute.
        """
        return self

    def posterior(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """p_sigma(c|x)."""
        return self.log_joint(x, sigma).softmax(dim=1)

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """∇x log p_sigma(x|labels), or ∇x log p_sigma(x) without labels; see `ScoreModel`."""
        scores = self.class_scores(x, sigma)
        if labels is not None:
            return scores[torch.arange(len(x), device=scores.device), labels.to(scores.device)]
        return torch.einsum("bk,bkchw->bchw", self.posterior(x, sigma), scores)

    def log_odds_gradient(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"]
    ) -> Float[Tensor, "b c h w"]:
        """∇x log p(y|x)/(1 - p(y|x)) = s(x|y) - s(x|not y), which is (s(x|y) - s(x))/(1 - p(y|x)).

        Computed without that difference, so that it is exact for images of a class that is all but certain.
        """
        scores = self.class_scores(x, sigma)
        labels = labels.to(scores.device)
        own = torch.nn.functional.one_hot(labels, scores.shape[1]).bool()
        others = self.log_joint(x, sigma).masked_fill(own, -torch.inf).softmax(dim=1)
        against = torch.einsum("bk,bkchw->bchw", others, scores)
        return scores[torch.arange(len(x), device=scores.device), labels] - against

    def denoise(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """E[x0 | x] = x + sigma² score(x) (Tweedie's formula; Efron 2011)."""
        return x + sigma**2 * self.score(x, sigma, labels)


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
    if not SCORE_MODELS[benchmark.score.kind].posteriors:
        raise CardError(
            f"{benchmark.label}: score model {benchmark.score.kind!r} has no class posteriors, hence no Bayes "
            "classifier; leave out the controls made of it"
        )
    score = load(benchmark, train)
    assert isinstance(score, ClassMixture)  # as the table of kinds says
    return score


def build(card: ScoreCard, benchmark: Benchmark, train: Dataset) -> ScoreModel:
    """Builds any score model for the images of a benchmark.

    Raises:
        CardError: the score model does not fit the data set.
        WeightsError: its weights are missing or altered.
    """
    kind, data = SCORE_MODELS[card.kind], benchmark.dataset.kind
    if kind.data not in (None, data):
        raise CardError(f"{benchmark.label}: score model {card.kind!r} does not fit data set {data!r}")
    score: ScoreModel = import_module(kind.module).build_score(card, benchmark, train)
    return resized(score, card, benchmark) if isinstance(score, NetworkScore) else score


def is_fitted(card: ScoreCard) -> bool:
    """Whether the score model was trained or fitted, so that its weights have a hash; others are closed forms."""
    return SCORE_MODELS[card.kind].fitted or card.weights is not None
