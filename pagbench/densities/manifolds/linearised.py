"""Jacobians of convolutional decoders, one layer after the other, in float64 too.

PyTorch's own float64 convolutions are several times slower on a CPU than the matrix products they are made of.
"""

from collections.abc import Callable
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn

_DIRECTIONS = 32
"""Directions that are pushed together: few enough for their maps to stay in a processor's cache."""

Map = Callable[[Tensor], Tensor]


@torch.no_grad()
def jacobian(decoder: nn.Sequential, code: Float[Tensor, "b latent"]) -> Float[Tensor, "b d latent"]:
    """Jacobian of a decoder at each code, d = c·h·w: one derivative in each latent's direction, none per pixel.

    Args:
        decoder: linear layers, transposed convolutions, convolutions of stride 1, and elementwise activations.
        code: where.
    """
    return torch.stack([_of_one(decoder, row) for row in code.split(1)]).mT


def _of_one(decoder: nn.Sequential, at: Float[Tensor, "1 latent"]) -> Float[Tensor, "latent d"]:
    directions, maps = torch.eye(at.shape[1], dtype=at.dtype, device=at.device), []
    for layer in decoder:
        maps.append(_derivative(layer, at))
        at = layer(at)
    columns = []
    for part in directions.split(_DIRECTIONS):
        columns.append(reduce(lambda moved, push: push(moved), maps, part).flatten(1))
    return torch.cat(columns)


def _derivative(layer: nn.Module, at: Tensor) -> Map:
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
