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
from pagbench.measures import lpips, paper
from pagbench.measures.observation import Batch, SecondScores

_CHUNK = 64


@dataclass(frozen=True)
class Targets:
    """Targets of some of a benchmark's images and of their partners, on one device, float32."""

    data: Dataset
    partner: dict[str, str]
    target: Float[Tensor, "n c h w"]
    basis: Float[Tensor, "n d k"]
    steps: geometry.Directions
    embedding: Float[Tensor, "n f"] | None
    second: SecondScores | None
    noise_parts: geometry.Directions | None

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
            second=None if self.second is None else self._second(self.second, here, there),
            noise_parts=None if self.noise_parts is None else geometry.Directions(*(p[here] for p in self.noise_parts)),
        )

    @staticmethod
    def _second(scores: SecondScores, here: Tensor, there: Tensor) -> SecondScores:
        return SecondScores(
            scores.target[here], scores.chance_target[there], scores.conditional[here], scores.marginal[here]
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
    computed = [_part(benchmark, score, manifold, seed, part) for part in data.chunks(_CHUNK)]
    target, basis, on, off = (torch.cat(found).to(device) for found in zip(*computed, strict=True))
    embedded = None
    if "alignment_lpips" in benchmark.measures:
        embedded = torch.cat([lpips.embed(geometry.scale_to_unit_range(part)) for part in target.split(_CHUNK)])
    return Targets(
        data=Dataset(data.ids, data.images.to(device), data.labels.to(device)),
        partner=partner,
        target=target,
        basis=basis,
        steps=geometry.Directions(on, off),
        embedding=embedded,
        second=_second_scores(benchmark, splits, data, device),
        noise_parts=_noise_parts(benchmark, basis, data, seed),
    )


def _part(
    benchmark: Benchmark, score: scores.ClassMixture, manifold: manifolds.Manifold, seed: int, part: Dataset
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b d k"], Float[Tensor, "b m d"], Float[Tensor, "b m d"]]:
    """Target, tangent basis and directions of a few images, computed in float64 and rounded to float32."""
    target = bayes_target(score, benchmark.sigma, part)
    basis = manifold.tangent_basis(part.images).double()
    shape = (benchmark.dimension, benchmark.directions)
    noise = torch.stack([sample_noise(seed, "response", name, shape) for name in part.ids])
    steps = geometry.directions(basis, noise)
    return target.float(), basis.float(), steps.on.float(), steps.off.float()


def _second_scores(benchmark: Benchmark, splits: Splits, data: Dataset, device: torch.device) -> SecondScores | None:
    """Scores of the second score model; `chance_target` is each image's own target, for its partner to take."""
    if benchmark.second is None:
        return None
    model, card = scores.load_second(benchmark, splits.train), benchmark.second

    def stacked(sigma: float, conditional: bool) -> Float[Tensor, "n c h w"]:
        parts = [model.score(part.images, sigma, part.labels if conditional else None) for part in data.chunks(_CHUNK)]
        return torch.cat(parts).float().to(device)

    target = stacked(card.sigma, True) - stacked(card.sigma, False)
    return SecondScores(target, target, stacked(card.paper_sigma, True), stacked(card.paper_sigma, False))


def _noise_parts(
    benchmark: Benchmark, basis: Float[Tensor, "n d k"], data: Dataset, seed: int
) -> geometry.Directions | None:
    """The paper protocol's one noise vector per image, split."""
    if "paper" not in benchmark.measures:
        return None
    noise = torch.stack([sample_noise(seed, "paper", name, benchmark.input_shape) for name in data.ids])
    return geometry.Directions(*(part.float() for part in paper.split_noise(basis, noise.to(basis))))


def bayes_target(score: scores.ClassMixture, sigma: float, data: Dataset) -> Float[Tensor, "b c h w"]:
    """The direction of s(x|y) - s(x), of unit length per image, float64.

    Raises:
        DataError: it vanishes, as where all classes are alike.
    """
    gradient = score.log_odds_gradient(data.images, sigma, data.labels)
    length = gradient.flatten(1).norm(dim=1)
    lost = ~(length > 0)
    if lost.any():
        name = data.ids[int(lost.nonzero()[0])]
        raise DataError(f"sample {name}: s(x|y) - s(x) vanishes at sigma {sigma}; use another sigma")
    return gradient / length[:, None, None, None]
