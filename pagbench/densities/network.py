"""Denoising networks as score models: images on [-1, 1], discrete noise levels and other sizes stay inside.

Notation: x_t = alpha x_0 + spread e with e standard normal. VP (variance preserving) networks have alpha = √ā and
spread = √(1 - ā). The noise level in data units is sigma = spread/alpha, at x_t/alpha.

Reference: Karras et al. 2022, arXiv 2206.00364 (noise levels, preconditioning); Salimans & Ho 2022, arXiv 2202.00512.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import ScoreCard
from pagbench.errors import CardError

Prediction = Literal["epsilon", "v_prediction", "sample"]


class Level(NamedTuple):
    """One noise level: x_t = alpha x_0 + spread e."""

    alpha: float
    spread: float

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise in data units, spread/alpha."""
        return self.spread / self.alpha


def variance_preserving(sigma: float) -> Level:
    """VP level (alpha² + spread² = 1) with the same noise-to-signal ratio: ā = 1/(1 + sigma²)."""
    alpha = 1 / math.sqrt(1 + sigma**2)
    return Level(alpha, sigma * alpha)


def clean_from_noise(
    x: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """x_0 of a network that predicts e."""
    return (x - level.spread * noise) / level.alpha


def clean_from_velocity(
    x: Float[Tensor, "*shape"], v: Float[Tensor, "*shape"], level: Level
) -> Float[Tensor, "*shape"]:
    """x_0 of a network that predicts v = alpha e - spread x_0 (VP levels only)."""
    return level.alpha * x - level.spread * v


def nearest_step(levels: Float[Tensor, "steps"], sigma: float) -> int:
    """The step whose noise level is nearest to sigma, in the logarithm.

    >>> nearest_step(torch.tensor([0.1, 0.4, 2.0]), 0.5)
    1
    """
    return int((levels.log() - math.log(sigma)).abs().argmin())


class NetworkScore(ABC):
    """Score of a denoising network, in pixel units; see `pagbench.densities.scores.ScoreModel`.

    It computes where the images lie, in the precision of the network's parameters.

    Args:
        network: it is put in eval mode and frozen.
        input_shape: channels, height and width of its images.
        weights_sha256: of the file that its weights come from.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int], weights_sha256: str | None) -> None:
        self._network = network.eval().requires_grad_(False)
        self.input_shape, self.weights_sha256 = input_shape, weights_sha256

    @abstractmethod
    def _rounded(self, sigma: float) -> float:
        """The network's own noise level that is nearest to one on [-1, 1]."""

    @abstractmethod
    def _clean(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b c h w"]:
        """E[x0 | x, labels] of images on [-1, 1] that carry one of the network's noise levels."""

    def rounded(self, sigma: float) -> float:
        """The noise level that is used for a wanted one, both in pixel units."""
        return self._rounded(2 * sigma) / 2

    def denoise(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """E[x0 | x] at `rounded(sigma)`, pixels, differentiable in x."""
        return (self._clean(self._centred(x), self._rounded(2 * sigma), labels) + 1) / 2

    @torch.no_grad()
    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """(D(x) - x)/sigma² at `rounded(sigma)`.

        Raises:
            CardError: the network was trained without classes, or without the case of no class.
        """
        centred, level = self._centred(x), self._rounded(2 * sigma)
        return 2 * ((self._clean(centred, level, labels) - centred) / level**2)  # the pixels' score is twice as large

    def place(self, x: Float[Tensor, "b c h w"]) -> None:
        """Moves the network to where the images lie; before forward mode, inside of which it cannot be moved."""
        if next(self._network.parameters()).device != x.device:
            self._network.to(x.device)

    def _centred(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        self.place(x)
        return 2 * x.to(next(self._network.parameters()).dtype) - 1


class DiscreteScore(NetworkScore):
    """Score of a network that knows VP noise levels by their number (Ho et al. 2020, arXiv 2006.11239).

    Args:
        network: see `predict`.
        predict: the network's prediction for x_t, the steps t and the labels, as in (x_t, t, labels) → e, v or x_0.
        prediction: which of the three.
        levels: sigma_t = √((1 - ā_t)/ā_t) of all steps, on [-1, 1].
        conditional: whether it takes labels.
        null_label: the label that means any class; None where it has none.
        input_shape: channels, height and width of its images.
        weights_sha256: of the file that its weights come from.
    """

    def __init__(
        self,
        network: nn.Module,
        predict: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        prediction: Prediction,
        levels: Float[Tensor, "steps"],
        *,
        conditional: bool,
        null_label: int | None,
        input_shape: tuple[int, int, int],
        weights_sha256: str | None,
    ) -> None:
        super().__init__(network, input_shape, weights_sha256)
        self._predict, self._prediction, self._levels = predict, prediction, levels
        self._conditional, self._null_label = conditional, null_label

    def _rounded(self, sigma: float) -> float:
        return float(self._levels[nearest_step(self._levels, sigma)])

    def _clean(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None
    ) -> Float[Tensor, "b c h w"]:
        level = variance_preserving(sigma)
        step = torch.full((len(x),), nearest_step(self._levels, sigma), device=x.device)
        noisy = level.alpha * x
        predicted = self._predict(noisy, step, self._given(labels, x))
        if self._prediction == "epsilon":
            return clean_from_noise(noisy, predicted, level)
        return predicted if self._prediction == "sample" else clean_from_velocity(noisy, predicted, level)

    def _given(self, labels: Int[Tensor, "b"] | None, x: Tensor) -> Int[Tensor, "b"] | None:
        return given_labels(labels, x, conditional=self._conditional, null_label=self._null_label)


def given_labels(
    labels: Int[Tensor, "b"] | None, x: Float[Tensor, "b c h w"], *, conditional: bool, null_label: int | None
) -> Int[Tensor, "b"] | None:
    """Labels for a network: the null label for none, where it has one.

    Raises:
        CardError: labels for a network without classes, or none for one that needs them.
    """
    if not conditional:
        if labels is not None:
            raise CardError("the score model was trained without classes: it has s(x) but no s(x|y); use another one")
        return None
    if labels is not None:
        return labels.to(x.device)
    if null_label is None:
        raise CardError(
            "the score model needs a class: it has s(x|y) but no s(x); give its card other_classes, or a null_label"
        )
    return torch.full((len(x),), null_label, device=x.device)


class ResizedScore:
    """∇x log p_sigma(R x) = Rᵀ s(R x): the gradient of the log-density of the resized image.

    R is bilinear with antialiasing, hence linear, and Rᵀ its exact adjoint. Sigma is the small image's noise level.
    The directions in which R x does not change have no gradient.

    Args:
        inner: the network.
        side: of its images, which are square.
    """

    def __init__(self, inner: NetworkScore, side: int) -> None:
        self._inner, self._side = inner, side
        self.weights_sha256 = inner.weights_sha256

    def rounded(self, sigma: float) -> float:
        """The noise level that the network uses for a wanted one."""
        return self._inner.rounded(sigma)

    def score(
        self, x: Float[Tensor, "b c h w"], sigma: float, labels: Int[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """See `pagbench.densities.scores.ScoreModel`."""
        rows, columns = (resizing(length, self._side, x) for length in x.shape[2:])
        small = self._inner.score(rows @ x @ columns.T, sigma, labels)
        return rows.T.to(small) @ small @ columns.to(small)


def resizing(length: int, side: int, like: Tensor) -> Float[Tensor, "side length"]:
    """The matrix that resizes one axis from `length` to `side` pixels; that of an image is one for each axis."""
    identity = torch.eye(length, dtype=like.dtype, device=like.device)[None, None]
    resized = torch.nn.functional.interpolate(
        identity, (side, length), mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0, 0]


def resized(network: NetworkScore, card: ScoreCard, benchmark: Benchmark) -> NetworkScore | ResizedScore:
    """The network for the benchmark's images, behind a resizing where the card asks for one.

    Raises:
        CardError: the network is for images of another size.
    """
    channels, *sides = network.input_shape
    if card.resolution is None and network.input_shape == benchmark.input_shape:
        return network
    if channels == benchmark.input_shape[0] and sides == [card.resolution] * 2:
        return ResizedScore(network, card.resolution or 0)
    raise CardError(
        f"{benchmark.label}: score model {card.kind!r} is for images of {network.input_shape}, the benchmark has "
        f"{benchmark.input_shape}, and its card's resolution is {card.resolution}; give the network's side there"
    )
