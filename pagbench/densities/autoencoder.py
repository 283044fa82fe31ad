"""Tangent spaces of a trained autoencoder: the span of its decoder's Jacobian."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.data import Dataset
from pagbench.densities.scores import ScoreModel
from pagbench.errors import CardError, DataError, WeightsError
from pagbench.storage import assets, weights

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
        return decoder_jacobian(self._network.decoder, code)

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


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> AutoencoderManifold:
    """The manifold of trained weights.

    Raises:
        CardError: the card has a recipe only; training it is not for this room.
        WeightsError: the weights are missing or altered.
    """
    if card.weights is None:
        raise CardError(f"{benchmark.label}: its autoencoder is not trained yet; `pagbench run` does it")
    return read(assets.find(card.weights), card.weights_sha256, card.rank)


_DIRECTIONS = 32
"""Directions that are pushed together: few enough for their maps to stay in a processor's cache."""

_Map = Callable[[Tensor], Tensor]


@torch.no_grad()
def decoder_jacobian(decoder: nn.Sequential, code: Float[Tensor, "b latent"]) -> Float[Tensor, "b d latent"]:
    """Jacobian of a decoder at each code, d = c·h·w: one derivative in each latent's direction, none per pixel.

    Args:
        decoder: linear layers, transposed convolutions, convolutions of stride 1, and elementwise activations.
        code: where.
    """
    return torch.stack([_jacobian_at(decoder, row) for row in code.split(1)]).mT


def _jacobian_at(decoder: nn.Sequential, at: Float[Tensor, "1 latent"]) -> Float[Tensor, "latent d"]:
    directions, maps = torch.eye(at.shape[1], dtype=at.dtype, device=at.device), []
    for layer in decoder:
        maps.append(_derivative(layer, at))
        at = layer(at)
    columns = []
    for part in directions.split(_DIRECTIONS):
        columns.append(reduce(lambda moved, push: push(moved), maps, part).flatten(1))
    return torch.cat(columns)


def _derivative(layer: nn.Module, at: Tensor) -> _Map:
    """The linear map that a layer is near its input."""
    if isinstance(layer, nn.Linear):
        return lambda moved: moved @ layer.weight.T
    if isinstance(layer, nn.Unflatten):
        return layer
    if isinstance(layer, nn.ConvTranspose2d):
        return lambda moved: _transposed(moved, layer.weight, layer.stride[0], int(layer.padding[0]))
    if isinstance(layer, nn.Conv2d):
        return lambda moved: _convolved(moved, layer.weight, int(layer.padding[0]))
    slope: Tensor = torch.func.jvp(layer, (at,), (torch.ones_like(at),))[1]
    return lambda moved: moved * slope


def _transposed(
    x: Float[Tensor, "n i h w"], weight: Float[Tensor, "i o s s"], stride: int, padding: int
) -> Float[Tensor, "n o _ _"]:
    """Transposed convolution, its kernel a multiple of its stride: each output pixel gathers its few inputs.

    Channels come first in memory, here and in what both convolutions return.
    """
    n, (inputs, outputs), reach = len(x), weight.shape[:2], weight.shape[2] // stride
    margin = reach - 1
    padded = nn.functional.pad(x.transpose(0, 1), (margin,) * 4)
    h, w = x.shape[2] + margin, x.shape[3] + margin
    shifts = [(margin - row, margin - column) for row in range(reach) for column in range(reach)]
    near = torch.stack([padded[:, :, top : top + h, left : left + w] for top, left in shifts])
    kernel = weight.reshape(inputs, outputs, reach, stride, reach, stride).permute(3, 5, 1, 2, 4, 0)
    phases = kernel.reshape(-1, reach**2 * inputs) @ near.reshape(reach**2 * inputs, -1)
    out = phases.reshape(stride, stride, outputs, n, h, w).permute(2, 3, 4, 0, 5, 1).reshape(outputs, n, h * stride, -1)
    return out[:, :, padding : h * stride - padding, padding : w * stride - padding].transpose(0, 1)


def _convolved(x: Float[Tensor, "n i h w"], weight: Float[Tensor, "o i s s"], padding: int) -> Float[Tensor, "n o _ _"]:
    """Convolution of stride 1: one product for all places of the kernel, whose values each spread to their outputs."""
    (n, inputs, h, w), (outputs, _, size, _) = x.shape, weight.shape
    spread = weight.permute(2, 3, 0, 1).reshape(-1, inputs) @ x.transpose(0, 1).reshape(inputs, -1)
    parts = spread.reshape(size, size, outputs, n, h, w)
    out = x.new_zeros(outputs, n, h + size - 1, w + size - 1)
    for row in range(size):
        for column in range(size):
            top, left = size - 1 - row, size - 1 - column
            out[:, :, top : top + h, left : left + w] += parts[row, column]
    cut = size - 1 - padding
    return out[:, :, cut : h + size - 1 - cut, cut : w + size - 1 - cut].transpose(0, 1)
