"""Manifolds: the directions along which the data varies at an image, and how far two of them agree.

`pagbench.cards.MANIFOLDS` lists the kinds. The module of each has a function
`build_manifold(card, benchmark, score, train) -> Manifold`.
"""

from importlib import import_module
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import MANIFOLDS, ManifoldCard, ScoreCard
from pagbench.data import Dataset
from pagbench.densities import scores
from pagbench.errors import CardError


@runtime_checkable
class Manifold(Protocol):
    """The contract of every manifold."""

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Orthonormal columns that span the tangent space at each image; d = c·h·w."""
        ...


def load(benchmark: Benchmark, score: scores.ScoreModel, train: Dataset) -> Manifold:
    """Builds the manifold that a benchmark's card names.

    Args:
        benchmark: the definition.
        score: its score model, for manifolds made of that.
        train: its training split, for manifolds made of that.

    Raises:
        CardError: the manifold does not fit the data set, or its rank is not the card's.
        WeightsError: its weights are missing or altered.
    """
    if benchmark.manifold is None:
        raise CardError(f"{benchmark.label}: has no manifold")
    return build(benchmark.manifold, benchmark, score, train)


def build(card: ManifoldCard, benchmark: Benchmark, score: scores.ScoreModel, train: Dataset) -> Manifold:
    """Builds any manifold for the images of a benchmark; see `load`."""
    kind, data = MANIFOLDS[card.kind], benchmark.dataset.kind
    if kind.data not in (None, data):
        raise CardError(f"{benchmark.label}: manifold {card.kind!r} does not fit data set {data!r}")
    manifold: Manifold = import_module(kind.module).build_manifold(card, benchmark, score, train)
    rank = getattr(manifold, "rank", card.rank)  # known manifolds have one of their own
    if rank != card.rank:
        raise CardError(f"{benchmark.label}: manifold {card.kind!r} has rank {rank}, its card says {card.rank}")
    return manifold


def is_fitted(card: ManifoldCard, score: ScoreCard) -> bool:
    """Whether the manifold is made of something fitted, its own or a score model, whose weights have a hash."""
    kind = MANIFOLDS[card.kind]
    return kind.fitted or (kind.of_score and scores.is_fitted(card.score or score))


def agreement(a: Manifold, b: Manifold, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """Mean squared cosine of the principal angles between two tangent spaces at each image; see `overlap`."""
    return overlap(a.tangent_basis(x), b.tangent_basis(x))


def overlap(a: Float[Tensor, "b d k"], b: Float[Tensor, "b d l"]) -> Float[Tensor, "b"]:
    """‖Aᵀ B‖² over the smaller rank, A and B orthonormal: the mean squared cosine of the principal angles, in [0, 1].

    1 where one space contains the other; `chance(...)` for random ones.
    """
    a, b = a.cpu().double(), b.cpu().double()
    return (a.mT @ b).square().sum((1, 2)) / min(a.shape[2], b.shape[2])


def chance(rank_a: int, rank_b: int, dimension: int) -> float:
    """Expected overlap of a uniformly random subspace with a fixed one: the larger rank over the dimension.

    >>> chance(8, 16, 64)
    0.25
    """
    return max(rank_a, rank_b) / dimension
