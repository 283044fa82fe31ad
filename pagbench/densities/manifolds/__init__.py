"""Manifolds: the directions along which the data varies at an image."""

import torch

from pagbench.benchmarks import Benchmark
from pagbench.cards import DistractorCard, GaussiansCard, ManifoldCard, ScoreCard, SphereCard
from pagbench.data import Dataset, distractor, gaussians, sphere
from pagbench.densities import scores
from pagbench.densities.manifolds import autoencoder, autoencoder_kl
from pagbench.densities.manifolds.analytic import LinearSpan, Sphere
from pagbench.densities.manifolds.comparison import agreement, chance, overlap
from pagbench.densities.manifolds.contract import Manifold
from pagbench.densities.manifolds.empirical import DenoiserJacobian, PosteriorCovariance, StreamedPosteriorCovariance
from pagbench.densities.manifolds.mask import Mask
from pagbench.densities.manifolds.neighbours import LocalPca
from pagbench.errors import CardError
from pagbench.storage import assets

__all__ = [
    "DenoiserJacobian",
    "LinearSpan",
    "LocalPca",
    "Manifold",
    "Mask",
    "PosteriorCovariance",
    "Sphere",
    "StreamedPosteriorCovariance",
    "agreement",
    "build",
    "chance",
    "is_network",
    "load",
    "overlap",
]


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
    rank, data = card.rank, benchmark.dataset
    manifold: Manifold
    probe = torch.full((1, *benchmark.input_shape), 0.25)
    if card.kind == "posterior-covariance":
        chosen = score if card.score is None else scores.build(card.score, benchmark, train)
        return _posterior(chosen, card.sigma or benchmark.sigma, rank, benchmark)
    if card.kind == "autoencoder":
        if card.weights is None:
            raise CardError(f"{benchmark.label}: its autoencoder is not trained yet; `pagbench run` does it")
        return autoencoder.read(assets.find(card.weights), card.weights_sha256, rank)
    if card.kind == "autoencoder-kl":
        assert card.repository is not None  # by the card's validation, as below
        return autoencoder_kl.read(card.repository, card.weights_sha256, rank)
    if card.kind == "local-pca":
        assert card.neighbours is not None
        return LocalPca(train.images, card.neighbours, rank)
    if card.kind == "span" and isinstance(data, GaussiansCard):
        manifold = LinearSpan(gaussians.parameters(data).basis)
    elif card.kind == "sphere" and isinstance(data, SphereCard):
        manifold = Sphere(sphere.parameters(data))
    elif card.kind == "mask" and isinstance(data, DistractorCard):
        glyphs = distractor.glyphs()
        manifold = Mask(glyphs)
        probe = torch.cat([glyphs[:1], torch.full_like(glyphs[:1], 0.25)], dim=2)
    else:
        raise CardError(f"{benchmark.label}: manifold {card.kind!r} does not fit data set {data.kind!r}")
    found = manifold.tangent_basis(probe).shape[2]
    if found != rank:
        raise CardError(f"{benchmark.label}: manifold {card.kind!r} has rank {found}, its card says {rank}")
    return manifold


def is_network(card: ManifoldCard, score: ScoreCard) -> bool:
    """Whether the manifold is made of a network, its own or that of a score model, whose weights have a hash."""
    return card.kind.startswith("autoencoder") or (
        card.kind == "posterior-covariance" and scores.is_network(card.score or score)
    )


def _posterior(score: scores.ScoreModel, sigma: float, rank: int, benchmark: Benchmark) -> Manifold:
    if isinstance(score, scores.StreamedEmpiricalDensity):
        return StreamedPosteriorCovariance(score, sigma, rank)
    if isinstance(score, scores.ClassMixture):
        return PosteriorCovariance(score, sigma, rank)
    if isinstance(score, scores.NetworkScore):
        return DenoiserJacobian(score, sigma, rank)
    raise CardError(
        f"{benchmark.label}: the score model sees resized images, which do not vary in all {benchmark.dimension} "
        "pixels; name one of the images' own size under the manifold's score, or another manifold"
    )
