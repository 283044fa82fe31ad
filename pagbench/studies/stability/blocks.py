"""Images that are measured together, with what no model changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.running.targets import sample_noise
from pagbench.studies.stability import similarities
from pagbench.studies.stability.ways import Similarity, Target


@dataclass(frozen=True)
class Block:
    """Consecutive images of the benchmark's cycle of partners.

    Attributes:
        benchmark: the definition.
        ids: of n images.
        images: pixels in [0, 1].
        labels: true classes.
        maps: targets of the n images and of the next in the cycle, which is the last one's partner.
        bases: tangent bases; none where no responses are measured.
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
        place = (target, similarity)
        if place not in self._embedded:
            self._embedded[place] = similarities.embed(similarity, self.maps[target])
        return self._embedded[place]

    def partners(self, seed: int) -> Int[Tensor, "n"]:
        """Places of the images' partners: the next in the cycle, or in another cycle through the block."""
        n = len(self.ids)
        if seed == self.benchmark.seed:
            return torch.arange(1, n + 1)
        cycle = np.random.default_rng([seed, n]).permutation(n)
        found = np.empty(n, dtype=np.int64)
        found[cycle] = np.roll(cycle, -1)
        return torch.from_numpy(found)

    def steps(self, manifold: ManifoldCard, seed: int) -> geometry.Directions:
        """The benchmark's directions in and off the tangent spaces, as many as these have room for."""
        place = (manifold, seed)
        if place not in self._steps:
            shape = (self.benchmark.dimension, min(self.benchmark.directions, manifold.rank))
            noise = torch.stack([sample_noise(seed, "response", name, shape) for name in self.ids])
            found = geometry.directions(self.bases[manifold].cpu().double(), noise)
            self._steps[place] = geometry.Directions(*(part.float().to(self.images.device) for part in found))
        return self._steps[place]
