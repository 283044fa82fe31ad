"""Tangent spaces of a trained autoencoder: the span of its decoder's Jacobian."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench.densities.manifolds import linearised
from pagbench.errors import DataError, WeightsError
from pagbench.storage import weights

_MIN_RELATIVE_SINGULAR_VALUE = 1e-3


class Autoencoder(nn.Module):
    """Convolutional autoencoder with smooth activations; pixels in [0, 1] in and out.

    Args:
        input_shape: channels, height, width; the sides divisible by 4.
        latent: size of the code.
        width: channels of the first layer.

    Raises:
        ValueError: a side is not divisible by 4.
    """

    def __init__(self, input_shape: tuple[int, int, int], latent: int, width: int) -> None:
        super().__init__()
        channels, height, width_px = input_shape
        if height % 4 or width_px % 4:
            raise ValueError(f"sides must be divisible by 4, got {height}×{width_px}")
        inner = (2 * width, height // 4, width_px // 4)
        size = inner[0] * inner[1] * inner[2]
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(), nn.Linear(size, latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, size), nn.SiLU(), nn.Unflatten(1, inner),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )  # fmt: skip
        self.config = {"input_shape": list(input_shape), "latent": latent, "width": width}

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Reconstruction dec(enc(x))."""
        out: Tensor = self.decoder(self.encoder(x))
        return out


class AutoencoderManifold:
    """The tangent space at dec(enc(x)): the leading left singular vectors of the decoder's Jacobian at enc(x).

    One forward-mode product per latent dimension, in float64; no backward pass per pixel (arXiv 2305.19101 estimates
    the same space that way). Latents that the decoder ignores fall behind the leading ones.

    Args:
        network: has `encoder` and `decoder`; it is put in eval mode, frozen, and made float64.
        rank: dimension of the tangent space, at most the size of the code.
        weights_sha256: of its file.
    """

    def __init__(self, network: Autoencoder, rank: int, weights_sha256: str | None = None) -> None:
        self._network = network.double().eval().requires_grad_(False)
        self._rank, self.weights_sha256 = rank, weights_sha256

    @torch.no_grad()
    def jacobian(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d latent"]:
        """Jacobian of the decoder at the code of each image."""
        parameter = next(self._network.parameters())
        code = self._network.encoder(x.to(parameter.device, parameter.dtype))
        return linearised.jacobian(self._network.decoder, code)

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Orthonormal tangent basis at each image; see `pagbench.densities.manifolds.Manifold`.

        Raises:
            DataError: the decoder varies in fewer than k directions somewhere (a singular value below 1e-3 of the
                largest).
        """
        jacobian = self.jacobian(x)
        squares, right = torch.linalg.eigh(jacobian.mT @ jacobian)  # half the time of a singular value decomposition
        values = squares.clamp(min=0).sqrt().flip(1)  # to 1e-8 of the largest, far below the cutoff
        full = values > _MIN_RELATIVE_SINGULAR_VALUE * values[:, :1]
        found = int(full.sum(1).min())
        if found < self._rank:
            raise DataError(
                f"the decoder varies in {found} directions at an image, the manifold's rank is {self._rank}; "
                "use a smaller rank or train the autoencoder longer"
            )
        scaled = right.flip(2)[:, :, : self._rank] / values[:, None, : self._rank]
        return (scaled.mT @ jacobian.mT).mT  # by rows, as the Jacobian lies in memory: a third of the time


def read(path: Path, sha256: str | None, rank: int) -> AutoencoderManifold:
    """Builds the manifold from a file that `pagbench fit` has written.

    Raises:
        WeightsError: the file is missing, altered, or no autoencoder's.
    """
    config = weights.read_metadata(path, "autoencoder")
    try:
        network = Autoencoder(tuple(config["input_shape"]), config["latent"], config["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: not an autoencoder's configuration ({error}); fit it anew") from None
    weights.load_into(network, weights.read(path, sha256), str(path))
    return AutoencoderManifold(network, rank, weights.file_sha256(path))
