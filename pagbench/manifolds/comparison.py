"""How far two manifolds agree."""

from jaxtyping import Float
from torch import Tensor

from pagbench.manifolds.contract import Manifold


def agreement(a: Manifold, b: Manifold, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
    """Mean squared cosine of the principal angles between two tangent spaces at each image, in [0, 1].

    ‖Qaᵀ Qb‖² over the smaller rank: 1 where one contains the other; `chance(...)` for a random one.
    """
    first, second = (manifold.tangent_basis(x).cpu().double() for manifold in (a, b))
    return (first.mT @ second).square().sum((1, 2)) / min(first.shape[2], second.shape[2])


def chance(rank_a: int, rank_b: int, dimension: int) -> float:
    """Expected agreement of a uniformly random subspace with a fixed one: the larger rank over the dimension.

    >>> chance(8, 16, 64)
    0.25
    """
    return max(rank_a, rank_b) / dimension
