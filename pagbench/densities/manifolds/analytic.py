"""Manifolds that are known exactly."""

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.data.sphere import SphereClasses
from pagbench.densities.scores.class_mixture import flat_exact


class LinearSpan:
    """The same linear tangent space everywhere.

    Args:
        basis: orthonormal columns, shape (d, k).
    """

    def __init__(self, basis: Float[Tensor, "d k"]) -> None:
        self._basis = basis

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """The span's basis, once per image; see `pagbench.densities.manifolds.Manifold`."""
        return self._basis.expand(len(x), *self._basis.shape)


class Sphere:
    """The tangent space of R Q S^{p-1} at the point of the sphere nearest to x: Q v⊥, of dimension p - 1."""

    def __init__(self, classes: SphereClasses) -> None:
        self._classes = classes

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Complement of the radial direction in the sphere's span; see `pagbench.densities.manifolds.Manifold`."""
        frame = self._classes.frame
        radial = (flat_exact(x, frame) - self._classes.centre) @ frame
        radial = radial / radial.norm(dim=1, keepdim=True)
        return frame @ torch.linalg.svd(radial[:, None]).Vh.mT[:, :, 1:]
