"""The exact score of a finite training set: no network, no training, no approximation."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.densities.scores.class_mixture import ClassMixture, flat_exact

_SAME_POINT = 1e-3
"""Squared distance, pixel units, below which two points are one."""

_ROUNDINGS = 32
"""Two points are one, too, within so many roundings of their squared lengths, from which the distance is computed."""


def check_labels(labels: Int[Tensor, "n"], classes: int) -> list[int]:
    """Number of training images of each class.

    Raises:
        ValueError: a class has no training image, or a label is not below `classes`.
    """
    sizes: list[int] = torch.bincount(labels, minlength=classes).tolist()
    if len(sizes) > classes:
        raise ValueError(f"label {len(sizes) - 1} among {classes} classes; labels go from 0 to {classes - 1}")
    if min(sizes) == 0:
        raise ValueError(f"class {sizes.index(0)} has no training image")
    return sizes


def same_point(length: Float[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
    """Squared distance below which a point is one of squared length `length`."""
    return (_ROUNDINGS * torch.finfo(length.dtype).eps * length).clamp(min=_SAME_POINT)


class EmpiricalDensity(ClassMixture):
    """The training set blurred with N(0, sigma² I), each class on its own training images.

    The score of a class is (D_c(x) - x)/sigma², D_c the posterior-weighted mean of its training images: the nearest
    neighbour of the class for sigma → 0, the class mean for sigma → ∞. That one knob spans the targets of
    Ganz et al. 2023 (arXiv 2207.11378).

    Args:
        images: training images, shape (n, c, h, w).
        labels: their classes; every class needs at least one image.
        classes: number of classes.

    Raises:
        ValueError: a class has no training image, or a label is not below `classes`.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, "n"], *, classes: int) -> None:
        order = labels.argsort(stable=True)
        self._points = images.flatten(1).double()[order]
        self._sizes = check_labels(labels, classes)
        self._excluding_self = False

    def placed(self, dtype: torch.dtype, device: torch.device) -> "EmpiricalDensity":
        """See `ClassMixture`."""
        other = copy.copy(self)
        other._points = self._points.to(device, dtype)
        return other

    def leaving_one_out(self, dtype: torch.dtype, device: torch.device) -> "EmpiricalDensity":
        """See `ClassMixture`; every class needs two distinct points."""
        other = self.placed(dtype, device)
        other._excluding_self = True
        return other

    def _log_weights(self, x: Float[Tensor, "b c h w"], sigma: float) -> list[Float[Tensor, "b _"]]:
        """Log N(x; x_j, sigma² I) up to one constant, class by class."""
        x = flat_exact(x, self._points)
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self._points.T + self._points.square().sum(1)
        if self._excluding_self:
            squared = squared.masked_fill(squared < same_point(x.square().sum(1, keepdim=True)), torch.inf)
        return list((-squared / (2 * sigma**2)).split(self._sizes, dim=1))

    def log_joint(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes"]:
        """Log p(x, c), up to one constant; classes weigh as in the training set."""
        return torch.stack([w.logsumexp(dim=1) for w in self._log_weights(x, sigma)], dim=1)

    def class_scores(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b classes c h w"]:
        """(D_c(x) - x)/sigma² for every class."""
        weights = [w.softmax(dim=1) for w in self._log_weights(x, sigma)]
        points = self._points.split(self._sizes)
        denoised = torch.stack([w @ p for w, p in zip(weights, points, strict=True)], dim=1)
        return ((denoised - flat_exact(x, denoised)[:, None]) / sigma**2).unflatten(2, x.shape[1:])

    def posterior_covariance(self, x: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b d d"]:
        """Covariance of the training images under their posterior weights at x."""
        weights = torch.cat(self._log_weights(x, sigma), dim=1).softmax(dim=1)
        return torch.stack([self._weighted_covariance(w) for w in weights])

    def _weighted_covariance(self, weights: Float[Tensor, "n"]) -> Float[Tensor, "d d"]:
        centred = self._points - weights @ self._points
        return centred.T @ (weights[:, None] * centred)
