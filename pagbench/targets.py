"""What a benchmark needs of its images and no classifier changes: computed once, shared by all entrants."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pagbench import geometry, manifolds, scores
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset, Splits
from pagbench.errors import DataError
from pagbench.measures import lpips
from pagbench.measures.observation import Batch

_CHUNK = 64
_CANCELLATION = 1e-10


@dataclass(frozen=True)
class Targets:
    """Targets of some of a benchmark's images and of their partners, on one device, float32."""

    data: Dataset
    partner: dict[str, str]
    target: Float[Tensor, "n c h w"]
    basis: Float[Tensor, "n d k"]
    steps: geometry.Directions
    embedding: Float[Tensor, "n f"] | None

    def batch(self, ids: Sequence[str]) -> Batch:
        """The batch of these samples, in this order."""
        position = {name: index for index, name in enumerate(self.data.ids)}
        here = torch.tensor([position[name] for name in ids])
        there = torch.tensor([position[self.partner[name]] for name in ids])
        return Batch(
            images=self.data.images[here],
            labels=self.data.labels[here],
            target=self.target[here],
            chance_target=self.target[there],
            basis=self.basis[here],
            chance_basis=self.basis[there],
            on=self.steps.on[here],
            off=self.steps.off[here],
            embedding=None if self.embedding is None else self.embedding[here],
            chance_embedding=None if self.embedding is None else self.embedding[there],
        )


def partners(benchmark: Benchmark, seed: int) -> dict[str, str]:
    """The other image against whose target each image's chance level is measured: one cycle through all samples."""
    cycle = [
        benchmark.samples[i]
        for i in np.random.default_rng([seed, len(benchmark.samples)]).permutation(len(benchmark.samples))
    ]
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def sample_noise(seed: int, measure: str, sample_id: str, shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Standard normal noise that depends on the seed, the measure and the sample only: never on batches or order."""
    key = np.frombuffer(hashlib.sha256(f"{measure}/{sample_id}".encode()).digest(), dtype=np.uint32)
    return torch.from_numpy(np.random.default_rng([seed, *key.tolist()]).standard_normal(shape))


def compute(benchmark: Benchmark, splits: Splits, ids: Sequence[str], *, seed: int, device: torch.device) -> Targets:
    """Computes score targets, tangent bases and noise directions in float64, and LPIPS embeddings of the targets.

    Args:
        benchmark: the definition.
        splits: its data.
        ids: samples that will be measured; their partners are added.
        seed: of the noise and of the permutation.
        device: where the batches will be used.

    Raises:
        DataError: the target of an image vanishes, so that nothing can be compared with it.
    """
    partner = partners(benchmark, seed)
    data = splits.test.select(list(dict.fromkeys([*ids, *(partner[name] for name in ids)])))
    score = scores.load(benchmark, splits.train)
    manifold = manifolds.load(benchmark, score)
    target = torch.cat([bayes_target(score, benchmark.sigma, part) for part in _chunks(data)])
    basis = torch.cat([manifold.tangent_basis(part.images).double() for part in _chunks(data)])
    shape = (benchmark.dimension, benchmark.directions)
    noise = torch.stack([sample_noise(seed, "response", name, shape) for name in data.ids])
    steps = geometry.directions(basis, noise)
    placed = target.float().to(device)
    embedded = None
    if "alignment_lpips" in benchmark.measures:
        embedded = torch.cat([lpips.embed(geometry.scale_to_unit_range(part)) for part in placed.split(_CHUNK)])
    return Targets(
        data=Dataset(data.ids, data.images.to(device), data.labels.to(device)),
        partner=partner,
        target=placed,
        basis=basis.float().to(device),
        steps=geometry.Directions(*(part.float().to(device) for part in steps)),
        embedding=embedded,
    )


def _chunks(data: Dataset) -> list[Dataset]:
    return [data.select(data.ids[start : start + _CHUNK]) for start in range(0, len(data.ids), _CHUNK)]


def bayes_target(score: scores.ScoreModel, sigma: float, data: Dataset) -> Float[Tensor, "b c h w"]:
    """s(x|y) - s(x), scaled to unit length per image, float64.

    Raises:
        DataError: the class is so certain that the difference vanishes.
    """
    conditional, marginal = score.score(data.images, sigma, data.labels), score.score(data.images, sigma)
    difference = conditional - marginal
    length = difference.flatten(1).norm(dim=1)
    lost = length <= _CANCELLATION * marginal.flatten(1).norm(dim=1)
    if lost.any():
        name = data.ids[int(lost.nonzero()[0])]
        raise DataError(
            f"sample {name}: s(x|y) - s(x) vanishes at sigma {sigma}: the class is certain; use a larger sigma"
        )
    return difference / length[:, None, None, None]
