"""Tangent spaces of diffusers' `AutoencoderKL`: the leading directions of its decoder's Jacobian."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.data import Dataset
from pagbench.densities import pipelines
from pagbench.densities.scores import ScoreModel
from pagbench.densities.subspace import leading_eigenvectors, pull, push
from pagbench.errors import DataError
from pagbench.storage import mirrors, weights

_MIN_RELATIVE_EIGENVALUE = 1e-6
_PRODUCTS = 8
"""Products with J Jᵀ, each a backward and a forward pass per direction."""


class DecoderJacobian:
    """The leading left singular vectors of the decoder's Jacobian J at the code of x.

    Eigenvectors of J Jᵀ by block Krylov iteration on reverse- and forward-mode products, for codes too large for
    `pagbench.densities.autoencoder`'s one product per latent.

    Args:
        encode: pixels in [0, 1] → codes, any shape.
        decode: codes → pixels.
        rank: k.
        weights_sha256: of the file that the weights come from.
        products: with J Jᵀ at most.
    """

    def __init__(
        self,
        encode: nn.Module,
        decode: nn.Module,
        rank: int,
        weights_sha256: str | None = None,
        products: int = _PRODUCTS,
    ) -> None:
        self._encode, self._decode = (part.eval().requires_grad_(False) for part in (encode, decode))
        self._rank, self._products = rank, products
        self.weights_sha256 = weights_sha256

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Orthonormal tangent basis at each image; see `pagbench.densities.manifolds.Manifold`.

        Raises:
            DataError: the decoder varies in fewer than k directions somewhere (a singular value below 1e-3 of the
                largest).
        """
        with torch.no_grad():
            code = self._encode(x)

        def product(v: Float[Tensor, "b d m"]) -> Float[Tensor, "b d m"]:
            return push(self._decode, code, pull(self._decode, code, v, x.shape[1:]))

        values, vectors = leading_eigenvectors(product, x.flatten(1).to(code), self._rank, most=self._products)
        if (values[:, -1] < _MIN_RELATIVE_EIGENVALUE * values[:, 0]).any():
            raise DataError(f"the decoder varies in fewer than {self._rank} directions at an image; use a smaller rank")
        return vectors


class _Encoder(nn.Module):
    """Mean code of pixels in [0, 1]; the factor by which pipelines scale codes changes no tangent space."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b l u v"]:
        self.network.to(x.device)
        out: Tensor = self.network.encode(2 * x.to(self.network.dtype) - 1).latent_dist.mode()
        return out


class _Decoder(nn.Module):
    """Pixels in [0, 1] of a code."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, code: Float[Tensor, "b l u v"]) -> Float[Tensor, "b c h w"]:
        out: Tensor = self.network.decode(code).sample
        return (out + 1) / 2


def read(repository: str, sha256: str | None, rank: int) -> DecoderJacobian:
    """Builds the manifold of an `AutoencoderKL`; no code of the repository is run.

    Args:
        repository: folder, or `<owner>/<name>[@<revision>]` on the hub; with the part `vae`, or flat.
        sha256: of the weights; None to skip the comparison.
        rank: dimension of the tangent spaces.

    Raises:
        WeightsError: files are missing, altered, or of another kind of network.
    """
    config = pipelines.read_config(pipelines.find(repository, "vae", mirrors.CONFIG), "AutoencoderKL")
    path = pipelines.find_weights(repository, "vae")
    network = pipelines.build(config, path, sha256)
    return DecoderJacobian(_Encoder(network), _Decoder(network), rank, weights.file_sha256(path))


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> DecoderJacobian:
    """The manifold of the card's repository; see `read`."""
    assert card.repository is not None  # by the card's validation
    return read(card.repository, card.weights_sha256, card.rank)
