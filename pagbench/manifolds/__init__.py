"""Manifolds: the directions along which the data varies at an image."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import assets
from pagbench.benchmarks import Benchmark
from pagbench.cards import DistractorCard, GaussiansCard, SphereCard
from pagbench.data import distractor, gaussians, sphere
from pagbench.errors import CardError
from pagbench.manifolds import autoencoder
from pagbench.manifolds.analytic import LinearSpan, Sphere
from pagbench.manifolds.empirical import PosteriorCovariance
from pagbench.manifolds.mask import Mask
from pagbench.scores import ClassMixture

__all__ = ["LinearSpan", "Manifold", "Mask", "PosteriorCovariance", "Sphere", "load"]


@runtime_checkable
class Manifold(Protocol):
    """The contract of every manifold."""

    def tangent_basis(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d k"]:
        """Orthonormal columns that span the tangent space at each image; d = c·h·w."""
        ...


def load(benchmark: Benchmark, score: ClassMixture) -> Manifold:
    """Builds the manifold that a benchmark's card names.

    Raises:
        CardError: the manifold does not fit the data set, or its rank is not the card's.
    """
    kind, rank, data = benchmark.manifold.kind, benchmark.manifold.rank, benchmark.dataset
    manifold: Manifold
    probe = torch.full((1, *benchmark.input_shape), 0.25)
    if kind == "posterior-covariance":
        return PosteriorCovariance(score, benchmark.sigma, rank)
    if kind == "autoencoder":
        assert benchmark.manifold.weights is not None  # by the card's validation
        return autoencoder.read(assets.find(benchmark.manifold.weights), benchmark.manifold.weights_sha256, rank)
    if kind == "span" and isinstance(data, GaussiansCard):
        manifold = LinearSpan(gaussians.parameters(data).basis)
    elif kind == "sphere" and isinstance(data, SphereCard):
        manifold = Sphere(sphere.parameters(data))
    elif kind == "mask" and isinstance(data, DistractorCard):
        glyphs = distractor.glyphs()
        manifold = Mask(glyphs)
        probe = torch.cat([glyphs[:1], torch.full_like(glyphs[:1], 0.25)], dim=2)
    else:
        raise CardError(f"{benchmark.label}: manifold {kind!r} does not fit data set {data.kind!r}")
    found = manifold.tangent_basis(probe).shape[2]
    if found != rank:
        raise CardError(f"{benchmark.label}: manifold {kind!r} has rank {found}, its card says {rank}")
    return manifold
