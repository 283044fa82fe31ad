"""How far two manifolds agree."""

from jaxtyping import Float
from torch import Tensor

from pagbench.densities.manifolds.contract import Manifold


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
