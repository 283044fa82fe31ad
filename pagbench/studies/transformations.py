"""How images change under transformations that everybody knows: directions along the data that nobody has fitted."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

TRANSFORMATIONS = ("shift right", "shift down", "rotation", "scale", "shear", "brightness")
"""Simard, LeCun, Denker & Victorri 1998, Transformation invariance in pattern recognition."""

_STEP = {"shift right": 0.5, "shift down": 0.5, "rotation": math.radians(2), "scale": 0.02, "shear": 0.03}
"""Half a pixel, radians, shares: small enough for a derivative, large enough for the grid of pixels."""


def derivatives(name: str, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The derivative of each image along a transformation, by central differences of bilinear resampling.

    Args:
        name: one of `TRANSFORMATIONS`.
        images: pixels in [0, 1].
    """
    if name == "brightness":
        return images
    step = _STEP[name]
    return (_moved(name, images, step) - _moved(name, images, -step)) / (2 * step)


def _moved(name: str, images: Float[Tensor, "b c h w"], by: float) -> Float[Tensor, "b c h w"]:
    height, width = images.shape[2:]
    matrices = {
        "shift right": [[1, 0, -2 * by / width], [0, 1, 0]],
        "shift down": [[1, 0, 0], [0, 1, -2 * by / height]],
        "rotation": [[math.cos(by), math.sin(by), 0], [-math.sin(by), math.cos(by), 0]],
        "scale": [[1 - by, 0, 0], [0, 1 - by, 0]],
        "shear": [[1, by, 0], [0, 1, 0]],
    }
    theta = torch.tensor(matrices[name], dtype=images.dtype, device=images.device).expand(len(images), 2, 3)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)
