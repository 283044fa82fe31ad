"""Tangent spaces from the nearest training images."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.data import Dataset
from pagbench.densities.scores import ScoreModel
from pagbench.errors import DataError

_PART = 2**24
"""Pixels of training images that are compared at a time, 134 MB in float64."""

_MIN_RELATIVE_SINGULAR_VALUE = 1e-3


class LocalPca:
    """Leading principal directions of the training images nearest to x.

    Good for smooth manifolds that are densely sampled; on raw pixels of natural images neighbours are far away, and the
    directions are those of a large patch (Kaslovsky & Meyer 2014, arXiv 1111.4601, for the trade-off).

    Args:
        images: training images, shape (n, c, h, w).
        neighbours: how many are taken, Euclidean distance.
        rank: number of directions, k < neighbours.

    Raises:
        DataError: there are fewer training images than neighbours.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], neighbours: int, rank: int) -> None:
        if neighbours > len(images):
            raise DataError(f"{neighbours} neighbours of {len(images)} training images; use fewer")
        self._points, self._neighbours, self._rank = images.flatten(1), neighbours, rank

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Orthonormal tangent basis at each image; see `pagbench.densities.manifolds.Manifold`.

        Raises:
            DataError: the neighbours of an image vary in fewer than k directions.
        """
        near = self._points[self.nearest(x)].double()
        _, values, rows = torch.linalg.svd(near - near.mean(1, keepdim=True), full_matrices=False)
        if (values[:, self._rank - 1] < _MIN_RELATIVE_SINGULAR_VALUE * values[:, 0]).any():
            raise DataError(
                f"the {self._neighbours} nearest training images of an image vary in fewer than {self._rank} "
                "directions; use more neighbours or a smaller rank"
            )
        return rows[:, : self._rank].mT.contiguous()

    def nearest(self, x: Float[Tensor, "b c h w"]) -> Int[Tensor, "b neighbours"]:
        """Indices of the nearest training images, nearest first, on the training images' device."""
        flat = x.flatten(1).to(self._points.device).double()
        best, index = flat.new_full((len(x), 0), 0.0), torch.empty(len(x), 0, dtype=torch.long, device=flat.device)
        start = 0
        for part in self._points.split(max(1, _PART // flat.shape[1])):
            wide = part.double()
            squared = wide.square().sum(1) - 2 * flat @ wide.T  # without |x|², which orders nothing
            here = torch.arange(start, start + len(part), device=flat.device).expand(len(x), -1)
            best, index = torch.cat([best, squared], dim=1), torch.cat([index, here], dim=1)
            best, kept = best.topk(min(self._neighbours, best.shape[1]), dim=1, largest=False)
            index, start = index.gather(1, kept), start + len(part)
        return index


def build_manifold(card: ManifoldCard, benchmark: Benchmark, score: ScoreModel, train: Dataset) -> LocalPca:
    """The manifold of the training split."""
    assert card.neighbours is not None  # by the card's validation
    return LocalPca(train.images, card.neighbours, card.rank)
