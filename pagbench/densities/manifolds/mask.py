"""Tangent spaces that are sets of pixels."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.data import distractor


class Mask:
    """The pixels of the signal half, of a signal and a distractor one above the other (arXiv 2305.19101).

    Along the manifold is then "on the signal", off the manifold "on the distractor": the tangent energy is the share of
    the gradient's energy on the signal, and the on- over the off-manifold response the relative noise robustness.

    Args:
        glyphs: the distractors, by which the signal half is told from the pixels.
    """

    def __init__(self, glyphs: Float[Tensor, "g c h w"]) -> None:
        self._glyphs = glyphs

    def tangent_basis(self, x: Float[Tensor, "b c h2 w"]) -> Float[Tensor, "b d k"]:
        """Unit vectors of the signal's pixels, k = d/2; see `pagbench.densities.manifolds.Manifold`.

        In float32, since 0 and 1 need no more and a basis of 56×28 pixels takes 4.9 MB an image.

        Raises:
            DataError: both halves of an image are equally far from the glyphs.
        """
        above = distractor.find_signal_above(x, self._glyphs)[:, None, None]
        index = torch.arange(x[0].numel()).reshape(x.shape[1:])
        upper, lower = (half.flatten() for half in index.chunk(2, dim=1))
        every = torch.eye(len(index.flatten()), device=x.device)
        return every[:, upper].where(above, every[:, lower])
