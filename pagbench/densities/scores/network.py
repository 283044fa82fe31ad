"""Denoising networks as score models: images on [-1, 1] and discrete noise levels stay inside."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pagbench.densities.scores.parameterisation import (
    clean_from_noise,
    clean_from_velocity,
    nearest_step,
    score_from_clean,
    to_unit_pixels,
    variance_preserving,
)
from pagbench.errors import CardError

Prediction = Literal["epsilon", "v_prediction", "sample"]


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
        return to_unit_pixels(score_from_clean(centred, self._clean(centred, level, labels), level), level)[0]

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
