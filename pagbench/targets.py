"""What a benchmark needs of its images and no classifier changes: computed once, shared by all entrants."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry, manifolds, scores
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset, Splits
from pagbench.errors import DataError
from pagbench.measures import lpips, paper
from pagbench.measures.observation import Batch, SecondScores
from pagbench.training import parts

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
    networks: dict[str, dict[str, Any]]
    """What is known of the networks behind them, by their part in the benchmark; hashes and noise levels."""

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
    return torch.from_numpy(_generator(seed, measure, sample_id).standard_normal(shape))


def _generator(seed: int, use: str, sample_id: str) -> np.random.Generator:
    key = np.frombuffer(hashlib.sha256(f"{use}/{sample_id}".encode()).digest(), dtype=np.uint32)
    return np.random.default_rng([seed, *key.tolist()])


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
    second = None if benchmark.second is None else scores.load_second(benchmark, splits.train)
    manifold = manifolds.load(parts.with_autoencoder(benchmark, device), score, splits.train)
    computed = [_part(benchmark, score, manifold, seed, part, device) for part in data.chunks(_CHUNK)]
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
        second=_second_scores(benchmark, second, data, device),
        noise_parts=_noise_parts(benchmark, basis, data, seed),
        networks=_records(benchmark, score, second, manifold),
    )


def _part(
    benchmark: Benchmark,
    score: scores.ScoreModel,
    manifold: manifolds.Manifold,
    seed: int,
    part: Dataset,
    device: torch.device,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b d k"], Float[Tensor, "b m d"], Float[Tensor, "b m d"]]:
    """Target, tangent basis and directions of a few images, computed in float64 and rounded to float32."""
    target = bayes_target(score, benchmark, part, device).cpu()
    basis = manifold.tangent_basis(part.images.to(device)).cpu().double()
    shape = (benchmark.dimension, benchmark.directions)
    noise = torch.stack([sample_noise(seed, "response", name, shape) for name in part.ids])
    steps = geometry.directions(basis, noise)
    return target.float(), basis.float(), steps.on.float(), steps.off.float()


def _second_scores(
    benchmark: Benchmark, model: scores.ScoreModel | None, data: Dataset, device: torch.device
) -> SecondScores | None:
    """Scores of the second score model; `chance_target` is each image's own target, for its partner to take."""
    if benchmark.second is None or model is None:
        return None
    card = benchmark.second

    def stacked(sigma: float, conditional: bool) -> Float[Tensor, "n c h w"]:
        found = [
            model.score(part.images.to(device), sigma, part.labels if conditional else None)
            for part in data.chunks(_CHUNK)
        ]
        return torch.cat(found).float().to(device)

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


def bayes_target(
    score: scores.ScoreModel, benchmark: Benchmark, data: Dataset, device: torch.device
) -> Float[Tensor, "b c h w"]:
    """The direction of s(x|y) - s(x|not y), of unit length per image, in the precision of the score model.

    That of a density is exact. A network with both scores gives s(x|y) - s(x), which has the same direction. For one
    without s(x), s(x|not y) is replaced by the mean of s(x|c) over a few other classes, drawn for each sample: a proxy,
    since the posterior would weigh the classes, and by far the nearest ones most.

    Raises:
        DataError: it vanishes, as where all classes are alike.
        CardError: the score model has no s(x|y).
    """
    images, count = data.images.to(device), benchmark.score.other_classes
    if isinstance(score, scores.ClassMixture):
        gradient = score.log_odds_gradient(images, benchmark.sigma, data.labels)
    elif count is None:
        gradient = score.score(images, benchmark.sigma, data.labels) - score.score(images, benchmark.sigma)
    else:
        drawn = other_classes(benchmark, data, count)
        others = [score.score(images, benchmark.sigma, labels) for labels in drawn.T]
        gradient = score.score(images, benchmark.sigma, data.labels) - torch.stack(others).mean(0)
    length = gradient.flatten(1).norm(dim=1)
    lost = ~(length > 0)
    if lost.any():
        name = data.ids[int(lost.nonzero()[0])]
        raise DataError(f"sample {name}: s(x|y) - s(x) vanishes at sigma {benchmark.sigma}; use another sigma")
    return gradient / length[:, None, None, None]


def other_classes(benchmark: Benchmark, data: Dataset, count: int) -> Int[Tensor, "b k"]:
    """Distinct classes other than each sample's own, drawn by the benchmark's seed and the sample's id."""
    drawn = []
    for name, label in zip(data.ids, data.labels.tolist(), strict=True):
        shift = _generator(benchmark.seed, "other classes", name).permutation(benchmark.classes - 1)[:count] + 1
        drawn.append((label + shift) % benchmark.classes)
    return torch.from_numpy(np.stack(drawn))


def _records(
    benchmark: Benchmark, score: scores.ScoreModel, second: scores.ScoreModel | None, manifold: manifolds.Manifold
) -> dict[str, dict[str, Any]]:
    """Hashes of the networks that a benchmark is made of, and the noise levels that discrete schedules round to."""
    found = {"score": _record(score, benchmark.sigma), "manifold": _record(manifold)}
    if second is not None and benchmark.second is not None:
        found |= {"second": _record(second, benchmark.second.sigma)}
        found |= {"paper": _record(second, benchmark.second.paper_sigma)}
    return {part: record for part, record in found.items() if record}


def _record(model: object, sigma: float | None = None) -> dict[str, Any]:
    digest = getattr(model, "weights_sha256", None)
    if digest is None:
        return {}
    used = {} if sigma is None else {"sigma": sigma, "sigma_used": model.rounded(sigma)}  # type: ignore[attr-defined]
    return {"weights_sha256": digest, **used}
