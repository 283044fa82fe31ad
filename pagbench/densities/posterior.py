"""Tangent spaces estimated from a score model alone: where the clean image may lie, given the noisy one.

Cov(x0 | x) is sigma² times the Jacobian of the denoiser, whose large eigenvalues belong to the directions in which the
data varies around x (Stanczuk et al. 2022, arXiv 2212.12611, for the same idea with a learned score).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.data import Dataset
from pagbench.densities import scores
from pagbench.densities.empirical import StreamedEmpiricalDensity
from pagbench.densities.manifolds import Manifold
from pagbench.densities.network import NetworkScore
from pagbench.densities.scores import ClassMixture, ScoreModel
from pagbench.densities.subspace import leading_eigenvectors, push
from pagbench.errors import CardError, DataError

_MIN_RELATIVE_EIGENVALUE = 1e-6
_EXACT = 2048
"""Training images with posterior weight up to which their covariance is decomposed exactly."""

_NETWORK_PRODUCTS = 6
"""Products with a network's Jacobian: each costs a pass per direction, and the first few find the leading space."""


class PosteriorCovariance:
    """Leading eigenvectors of Cov(x0 | x), the covariance of clean images given the noisy one, in closed form.

    Args:
        score: density whose posterior is used.
        sigma: noise level, a standard deviation in pixel units.
        rank: number of eigenvectors, k.
    """

    def __init__(self, score: ClassMixture, sigma: float, rank: int) -> None:
        self._score, self._sigma, self._rank = score, sigma, rank

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """The k leading eigenvectors at each image; see `pagbench.densities.manifolds.Manifold`.

        Raises:
            DataError: the posterior varies in fewer than k directions (sigma is too small for this data).
        """
        values, vectors = self._score.posterior_eigenvectors(x, self._sigma, self._rank)
        _check_rank(values[:, -1], values[:, 0], self._rank, self._sigma)
        return vectors


class StreamedPosteriorCovariance:
    """`PosteriorCovariance` of a training set too large for d×d matrices.

    Singular vectors of the training images that have posterior weight; by block Krylov iteration where these are many.

    Args:
        score: the training set.
        sigma: noise level, a standard deviation in pixel units.
        rank: number of eigenvectors, k.
    """

    def __init__(self, score: StreamedEmpiricalDensity, sigma: float, rank: int) -> None:
        self._score, self._sigma, self._rank = score, sigma, rank

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """The k leading eigenvectors at each image; see `pagbench.densities.manifolds.Manifold`.

        Raises:
            DataError: the posterior varies in fewer than k directions (sigma is too small for this data).
        """
        return torch.stack([self._basis(image) for image in x])

    def _basis(self, image: Float[Tensor, "c h w"]) -> Float[Tensor, "d k"]:
        factor = self._score.posterior_factor(image, self._sigma, _EXACT)
        if factor is None:
            product = self._score.covariance_product(image[None], self._sigma)
            values, vectors = leading_eigenvectors(product, image[None].flatten(1).double(), self._rank)
        else:
            _, singular, rows = torch.linalg.svd(factor, full_matrices=False)
            padded = torch.nn.functional.pad(singular.square(), (0, self._rank))
            values, vectors = padded[None], rows.T[None, :, : self._rank]
        _check_rank(values[:, self._rank - 1], values[:, 0], self._rank, self._sigma)
        return vectors[0]


class DenoiserJacobian:
    """Leading eigenvectors of the Jacobian of a network's denoiser, sigma⁻² Cov(x0 | x) if the network were exact.

    Block Krylov iteration on forward-mode products: k + k/4 passes per product and image, and no d×d matrix. The
    Jacobian of a trained network is neither quite symmetric nor free of negative eigenvalues; see
    `pagbench.densities.subspace.leading_eigenvectors` for what is made of that.

    Args:
        score: the network.
        sigma: noise level, a standard deviation in pixel units.
        rank: number of eigenvectors, k.
    """

    def __init__(self, score: NetworkScore, sigma: float, rank: int) -> None:
        self._score, self._sigma, self._rank = score, sigma, rank
        self.weights_sha256 = score.weights_sha256

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """The k leading eigenvectors at each image; see `pagbench.densities.manifolds.Manifold`.

        Raises:
            DataError: the denoiser varies in fewer than k directions.
        """
        self._score.place(x)

        def product(v: Float[Tensor, "b d m"]) -> Float[Tensor, "b d m"]:
            return push(lambda at: self._score.denoise(at, self._sigma), x, v).to(v)

        values, vectors = leading_eigenvectors(product, x.flatten(1), self._rank, most=_NETWORK_PRODUCTS)
        _check_rank(values[:, -1], values[:, 0], self._rank, self._sigma)
        return vectors


def _check_rank(smallest: Float[Tensor, "b"], largest: Float[Tensor, "b"], rank: int, sigma: float) -> None:
    if not (smallest >= _MIN_RELATIVE_EIGENVALUE * largest).all():
        raise DataError(
            f"the data varies in fewer than {rank} directions around an image at sigma {sigma}; "
            "use a larger sigma or a smaller rank"
        )


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> Manifold:
    """The posterior of the card's score model, or of the benchmark's own.

    Raises:
        CardError: the score model sees resized images.
    """
    chosen = score if card.score is None else scores.build(card.score, benchmark, train)
    sigma = card.sigma or benchmark.sigma
    if isinstance(chosen, StreamedEmpiricalDensity):
        return StreamedPosteriorCovariance(chosen, sigma, card.rank)
    if isinstance(chosen, ClassMixture):
        return PosteriorCovariance(chosen, sigma, card.rank)
    if isinstance(chosen, NetworkScore):
        return DenoiserJacobian(chosen, sigma, card.rank)
    raise CardError(
        f"{benchmark.label}: the score model sees resized images, which do not vary in all {benchmark.dimension} "
        "pixels; name one of the images' own size under the manifold's score, or another manifold"
    )
