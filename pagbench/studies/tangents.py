"""How far a benchmark's tangent spaces agree with other estimates of them, at the images that it measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import pandas as pd
import torch
from torch import Tensor

from pagbench import benchmarks, data
from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard, ScoreCard
from pagbench.densities import manifolds, scores
from pagbench.errors import CardError, DataError
from pagbench.storage import global_state
from pagbench.training import components

_CHUNK = 16


@dataclass(frozen=True)
class Comparison:
    """Agreement of every two of some manifolds.

    Attributes:
        table: `first`, `second`, `agreement` (mean over images), `standard_error`, `chance`.
        left_out: why an estimate is not in it, one line each.
    """

    table: pd.DataFrame
    left_out: list[str] = field(default_factory=list)


@global_state.known()
def compare(
    benchmark: Benchmark,
    others: Sequence[ManifoldCard] | None = None,
    *,
    images: int = 100,
    device: torch.device,
    advance: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Compares the benchmark's manifold with others, and these with one another.

    Args:
        benchmark: the definition.
        others: cards of the others; `estimates` by default.
        images: the first so many samples.
        device: where to compute.
        advance: called with the name of each manifold before it is computed.

    Raises:
        CardError: the benchmark has no manifold, or a card does not fit its data.
        DataError: its own manifold cannot be computed.
    """
    if benchmark.manifold is None:
        raise CardError(f"{benchmark.label}: has no manifold to compare with")
    splits = data.splits(benchmark)
    shown = splits.test.select(benchmark.samples[:images])
    own = components.with_autoencoder(benchmark, device).manifold or benchmark.manifold
    score = scores.load(benchmark, splits.train)
    bases: dict[str, Tensor] = {}
    left_out = []
    for card in (own, *(estimates(benchmark) if others is None else others)):
        name = title(card, benchmark)
        advance(name)
        try:
            manifold = manifolds.build(card, benchmark, score, splits.train)
            chunks = (manifold.tangent_basis(chunk.images.to(device)).cpu() for chunk in shown.chunks(_CHUNK))
            bases[name] = torch.cat(list(chunks))
        except DataError as error:
            if card is own:
                raise
            left_out.append(f"{name}: {error}")
    return Comparison(pd.DataFrame([_row(*pair) for pair in combinations(bases.items(), 2)]), left_out)


def estimates(benchmark: Benchmark) -> list[ManifoldCard]:
    """Estimates of the benchmark's rank from scores and training images: those that its own manifold is not."""
    assert benchmark.manifold is not None
    rank = benchmark.manifold.rank
    cards = [
        ManifoldCard(kind="posterior-covariance", rank=rank),
        ManifoldCard(kind="local-pca", rank=rank, neighbours=4 * rank),
    ]
    if benchmark.score.kind == "mixture":
        cards.append(ManifoldCard(kind="posterior-covariance", rank=rank, score=ScoreCard(kind="empirical")))
    cards += [card for card in _of_earlier_versions(benchmark) if card.rank == rank]
    if (second := benchmark.second) is not None and second.score.kind == "diffusion":
        sigma = second.paper_sigma or second.sigma
        cards.append(ManifoldCard(kind="posterior-covariance", rank=rank, score=second.score, sigma=sigma))
    return [card for card in cards if card != benchmark.manifold]


def _of_earlier_versions(benchmark: Benchmark) -> list[ManifoldCard]:
    """Trained manifolds of the same images that earlier versions name."""
    labels = [f"{benchmark.name}@{version}" for version in range(1, benchmark.version)]
    earlier = [benchmarks.load(label).manifold for label in labels if label in benchmarks.names()]
    return [card for card in earlier if card is not None and card.weights is not None]


def title(card: ManifoldCard, benchmark: Benchmark) -> str:
    """A manifold's name in the table: its kind and what it is made of."""
    if card.kind == "local-pca":
        return f"local-pca of {card.neighbours} neighbours"
    if card.kind == "posterior-covariance":
        score = card.score or benchmark.score
        return f"posterior-covariance of {score.kind}, sigma {card.sigma or benchmark.sigma:g}"
    return card.kind


def _row(first: tuple[str, Tensor], second: tuple[str, Tensor]) -> dict[str, str | float]:
    agreement = manifolds.overlap(first[1], second[1])
    return {
        "first": first[0],
        "second": second[0],
        "agreement": float(agreement.mean()),
        "standard_error": float(agreement.std() / len(agreement) ** 0.5),
        "chance": manifolds.chance(first[1].shape[2], second[1].shape[2], first[1].shape[1]),
    }
