"""Score models of small images, for large ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.densities.scores.network import NetworkScore


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
