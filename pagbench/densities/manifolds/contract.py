"""What every manifold can do."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Manifold(Protocol):
    """The contract of every manifold."""

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Orthonormal columns that span the tangent space at each image; d = c·h·w."""
        ...
