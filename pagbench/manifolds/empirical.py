"""Tangent spaces estimated from a score model alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.errors import DataError
from pagbench.scores import ClassMixture

_MIN_RELATIVE_EIGENVALUE = 1e-6


class PosteriorCovariance:
    """Leading eigenvectors of Cov(x0 | x), the covariance of clean images given the noisy one.

    Cov(x0 | x) is sigma² times the Jacobian of the denoiser, whose large eigenvalues belong to the directions in which
    the data varies around x (Stanczuk et al. 2022, arXiv 2212.12611, for the same idea with a learned score).

    Args:
        score: density whose posterior is used.
        sigma: noise level, a standard deviation in pixel units.
        rank: number of eigenvectors, k.
    """

    def __init__(self, score: ClassMixture, sigma: float, rank: int) -> None:
        self._score, self._sigma, self._rank = score, sigma, rank

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """The k leading eigenvectors at each image; see `pagbench.manifolds.Manifold`.

        Raises:
            DataError: the posterior varies in fewer than k directions (sigma is too small for this data).
        """
        values, vectors = torch.linalg.eigh(self._score.posterior_covariance(x, self._sigma))
        if (values[:, -self._rank] < _MIN_RELATIVE_EIGENVALUE * values[:, -1]).any():
            raise DataError(
                f"the data varies in fewer than {self._rank} directions around an image at sigma {self._sigma}; "
                "use a larger sigma or a smaller rank"
            )
        return vectors[:, :, -self._rank :].flip(2)
