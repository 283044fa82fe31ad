"""Blocks of images with the targets and tangent spaces of every level, which are kept on disk for all models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import data, geometry
from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.partners import cycle
from pagbench.cards import ManifoldCard
from pagbench.data import Dataset, Splits
from pagbench.densities import manifolds, scores
from pagbench.errors import CardError, DataError, WeightsError
from pagbench.measures import lpips
from pagbench.models.devices import BatchSize
from pagbench.running import targets
from pagbench.running.target_files import TargetFiles
from pagbench.running.targets import sample_noise
from pagbench.studies.stability import similarities
from pagbench.studies.stability.factors import (
    RESPONSES,
    Alignment,
    Factor,
    Level,
    Response,
    Similarity,
    Target,
    Variant,
)
from pagbench.training import components

_BLOCK = 50
_BASES = 16
"""Images whose tangent spaces are computed together."""


@dataclass(frozen=True)
class Block:
    """Consecutive images of the benchmark's cycle of partners, with what no model changes.

    Attributes:
        benchmark: the definition.
        ids: of n images.
        images: pixels in [0, 1].
        labels: true classes.
        maps: targets of the n images and of the next in the cycle, which is the last one's partner.
        bases: tangent bases; empty where no responses are measured.
    """

    benchmark: Benchmark
    ids: tuple[str, ...]
    images: Float[Tensor, "n c h w"]
    labels: Int[Tensor, "n"]
    maps: Mapping[Target, Float[Tensor, "m c h w"]]
    bases: Mapping[ManifoldCard, Float[Tensor, "n d k"]]
    _embedded: dict[tuple[Target, Similarity], Tensor] = field(default_factory=dict)
    _steps: dict[tuple[ManifoldCard, int], geometry.Directions] = field(default_factory=dict)

    def embedded(self, target: Target, similarity: Similarity) -> Tensor:
        """Targets of the n images and of the next one, embedded once for all models."""
        key = (target, similarity)
        if key not in self._embedded:
            self._embedded[key] = similarities.embed(similarity, self.maps[target])
        return self._embedded[key]

    def partners(self, seed: int) -> Int[Tensor, "n"]:
        """Indices of the images' partners: the next in the cycle, or in another cycle through the block."""
        n = len(self.ids)
        if seed == self.benchmark.seed:
            return torch.arange(1, n + 1)
        cycle = np.random.default_rng([seed, n]).permutation(n)
        partner = np.empty(n, dtype=np.int64)
        partner[cycle] = np.roll(cycle, -1)
        return torch.from_numpy(partner)

    def steps(self, manifold: ManifoldCard, seed: int) -> geometry.Directions:
        """The benchmark's directions in and off the tangent spaces, as many as these have room for."""
        key = (manifold, seed)
        if key not in self._steps:
            shape = (self.benchmark.dimension, min(self.benchmark.directions, manifold.rank))
            noise = torch.stack([sample_noise(seed, "response", name, shape) for name in self.ids])
            directions = geometry.directions(self.bases[manifold].cpu().double(), noise)
            self._steps[key] = geometry.Directions(*(part.float().to(self.images.device) for part in directions))
        return self._steps[key]


class TargetStore:
    """Target maps, tangent bases and tables about images, computed once and kept with the benchmark's own targets.

    Score models and manifolds are loaded when the first image needs them.

    Args:
        benchmark: the definition.
        splits: its data.
        device: where to compute.
    """

    def __init__(self, benchmark: Benchmark, splits: Splits, device: torch.device) -> None:
        self._benchmark, self._splits, self._device = benchmark, splits, device
        self._manifolds: dict[ManifoldCard, manifolds.Manifold] = {}
        networks = targets.Computation(benchmark, splits, benchmark.seed, device).records()
        size = targets.size_of(benchmark)
        self._files = TargetFiles(benchmark, seed=benchmark.seed, device=device, networks=networks, size=size)

    def target(self, target: Target, images: Dataset) -> Float[Tensor, "n c h w"]:
        """What gradients are compared with at these images.

        Raises:
            CardError: the score model has no such part.
            DataError: it vanishes at an image.
        """
        return self.kept((repr(target),), images, lambda: {"map": self._target(target, images)})["map"]

    def basis(self, card: ManifoldCard, images: Dataset) -> Float[Tensor, "n d k"]:
        """Orthonormal tangent bases at these images.

        Raises:
            CardError: the manifold does not fit the benchmark, or has another rank.
            DataError: it has fewer directions than its rank at an image.
        """
        return self.kept((card.digest(),), images, lambda: {"basis": self._basis(card, images)})["basis"]

    def kept(
        self, key: tuple[str, ...], images: Dataset, compute: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors about these images, from disk or computed now."""
        path = self._files.path((*images.ids, *key), images.fingerprint())
        with self._files.locked(path):
            tensors = self._files.read(path)
            if tensors is None:
                tensors = dict(compute())
                self._files.write(path, tensors)
        return {name: tensor.to(self._device) for name, tensor in tensors.items()}

    @cached_property
    def _score(self) -> scores.ScoreModel:
        return scores.load(self._benchmark, self._splits.train)

    @cached_property
    def _second(self) -> scores.ScoreModel:
        return scores.load_second(self._benchmark, self._splits.train)

    def _target(self, target: Target, images: Dataset) -> Float[Tensor, "n c h w"]:
        model, definition = self._score, self._benchmark
        if target.second:
            assert definition.second is not None  # by the factors
            model, definition = self._second, definition.model_copy(update={"score": definition.second.score})
        if target.part == "difference":
            definition = definition.model_copy(update={"sigma": target.sigma})
            return targets.bayes_target(model, definition, images, self._device).float()
        labels = images.labels if target.part == "conditional" else None
        return model.score(images.images.to(self._device), target.sigma, labels).float()

    def _basis(self, card: ManifoldCard, images: Dataset) -> Float[Tensor, "n d k"]:
        if card not in self._manifolds:
            self._manifolds[card] = self._manifold(card)
        chunks = (chunk.images.to(self._device) for chunk in images.chunks(_BASES))
        return torch.cat([self._manifolds[card].tangent_basis(chunk).float() for chunk in chunks])

    def _manifold(self, card: ManifoldCard) -> manifolds.Manifold:
        if card.recipe is not None:  # one autoencoder for all ranks
            own = components.with_autoencoder(self._benchmark, self._device).manifold
            assert own is not None
            card = own.model_copy(update={"rank": card.rank})
        return manifolds.build(card, self._benchmark, self._score, self._splits.train)


class Blocks:
    """All blocks of a benchmark, one at a time.

    Args:
        benchmark: the definition.
        images: the first so many of the cycle of partners, so that each image's partner is among them.
        device: where to compute.
    """

    def __init__(self, benchmark: Benchmark, images: int, device: torch.device) -> None:
        self.benchmark, self._device = benchmark, device
        self._splits = data.splits(benchmark)
        order = cycle(benchmark, benchmark.seed)
        self._follower = dict(zip(order, order[1:] + order[:1], strict=True))
        self.ids = order[:images]
        self.store = TargetStore(benchmark, self._splits, device)
        size = min(_BLOCK, BatchSize(None, benchmark, device).size)
        starts = [start for start in range(0, len(self.ids), size) if start == 0 or start + 1 < len(self.ids)]
        self.parts = [self.ids[a:b] for a, b in zip(starts, [*starts[1:], len(self.ids)], strict=True)]

    def images(self, ids: Sequence[str]) -> Dataset:
        """The images themselves."""
        return self._splits.test.select(ids)

    def block(self, number: int, factors: Sequence[Factor]) -> Block:
        """A block with targets and tangent spaces of these factors."""
        ids = self.parts[number]
        images = self.images(ids)
        variants = [level.variant for factor in factors for level in factor.levels]
        wanted = dict.fromkeys(variant.target for variant in variants if isinstance(variant, Alignment))
        cards = dict.fromkeys(variant.manifold for variant in variants if isinstance(variant, Response))
        return Block(
            self.benchmark,
            ids,
            images.images.to(self._device),
            images.labels.to(self._device),
            {target: self._map(target, ids) for target in wanted},
            {card: self.store.basis(card, images) for card in cards} if self._has_responses(ids) else {},
        )

    def _has_responses(self, ids: Sequence[str]) -> bool:
        return ids[0] in self.ids[:RESPONSES]

    def _map(self, target: Target, ids: Sequence[str]) -> Tensor:
        """Targets of the images and of the last one's partner."""
        return self.store.target(target, self.images([*ids, self._follower[ids[-1]]]))

    def computable(
        self, factors: Sequence[Factor], advance: Callable[[str, int], None]
    ) -> tuple[list[Factor], list[str]]:
        """The factors with those levels that can be computed here, and a line for each level that cannot.

        Targets and tangent spaces of all images are computed on the way; they stay on disk.

        Args:
            factors: all of them.
            advance: called with the name of a level and a number of images that are done.
        """
        possible, left_out = [], []
        for factor in factors:
            levels: list[Level] = []
            for level in factor.levels:
                title = f"{factor.name}: {level.name}"
                if flaw := self._flaw(level.variant, partial(advance, title)):
                    left_out.append(f"{title}: {flaw}")
                else:
                    levels.append(level)
            if len(levels) > 1 and levels[0] is factor.published:
                possible.append(replace(factor, levels=tuple(levels)))
        return possible, left_out

    def _flaw(self, variant: Variant, advance: Callable[[int], None]) -> str:
        """Why a variant cannot be computed here; empty where it can."""
        if isinstance(variant, Alignment) and (file := lpips.lacking(variant.similarity.backbone)):
            return f"torchvision's {Path(file).name} is not in the cache of torch.hub, and nothing is downloaded"
        try:
            for count in self._compute(variant):
                advance(count)
        except (CardError, DataError, WeightsError) as error:
            return str(error)
        return ""

    def _compute(self, variant: Variant) -> Iterator[int]:
        for ids in self.parts:
            if isinstance(variant, Alignment):
                self._map(variant.target, ids)
            elif isinstance(variant, Response) and self._has_responses(ids):
                self.store.basis(variant.manifold, self.images(ids))
            yield len(ids)
