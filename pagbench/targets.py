"""What a benchmark needs of its images and no classifier changes: computed once, shared by all entrants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import draws, geometry, manifolds, scores
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset, Splits
from pagbench.errors import CardError, DataError
from pagbench.measures import lpips, paper
from pagbench.measures.observation import Batch, SecondScores
from pagbench.training import parts

_CHUNK = 64
_ROOM = 4 * 2**30
"""Bytes that the targets of a whole benchmark may take."""


@dataclass(frozen=True)
class Computed:
    """Targets of some images, on one device, float32; fields as in `Batch`."""

    ids: tuple[str, ...]
    target: Float[Tensor, "n c h w"]
    basis: Float[Tensor, "n d k"]
    steps: geometry.Directions
    embedding: Float[Tensor, "n f"] | None
    second: SecondScores | None
    noise_parts: geometry.Directions | None


@dataclass(frozen=True)
class Targets:
    """Targets of a benchmark's images and of their partners.

    Attributes:
        data: the images.
        partner: of each image.
        device: where the batches will be used.
        of: computes the targets of some of the images.
        target: the Bayes targets alone, of any of the benchmark's images.
        kept: those of all images; None where they are too many to keep, and each batch computes its own.
        networks: what is known of the networks behind them, by their part in the benchmark; hashes and noise levels.
    """

    data: Dataset
    partner: dict[str, str]
    device: torch.device
    of: Callable[[Dataset], Computed]
    target: Callable[[Dataset], Float[Tensor, "n c h w"]]
    kept: Computed | None
    networks: dict[str, dict[str, Any]]

    def ordered(self, ids: Sequence[str]) -> list[str]:
        """These samples in the order in which batches cost least: partners follow each other, unless all are kept."""
        if self.kept is not None:
            return list(ids)
        wanted = set(ids)
        return [name for name in self.partner if name in wanted]

    def batch(self, ids: Sequence[str]) -> Batch:
        """The batch of these samples, in this order."""
        others = [self.partner[name] for name in ids]
        images = self.data.select(ids)
        computed = self.kept or self.of(self.data.select(list(dict.fromkeys([*ids, *others]))))
        position = {name: index for index, name in enumerate(computed.ids)}
        here = torch.tensor([position[name] for name in ids])
        there = torch.tensor([position[name] for name in others])
        embedding, second, noise_parts = computed.embedding, computed.second, computed.noise_parts
        return Batch(
            images=images.images.to(self.device),
            labels=images.labels.to(self.device),
            target=computed.target[here],
            chance_target=computed.target[there],
            basis=computed.basis[here],
            chance_basis=computed.basis[there],
            on=computed.steps.on[here],
            off=computed.steps.off[here],
            embedding=None if embedding is None else embedding[here],
            chance_embedding=None if embedding is None else embedding[there],
            second=None if second is None else self._second(second, here, there),
            noise_parts=None if noise_parts is None else geometry.Directions(*(p[here] for p in noise_parts)),
            ids=tuple(ids),
        )

    @staticmethod
    def _second(scores: SecondScores, here: Tensor, there: Tensor) -> SecondScores:
        chosen = zip(scores, (here, there, here, here), strict=True)
        return SecondScores(*(None if part is None else part[index] for part, index in chosen))


def partners(benchmark: Benchmark, seed: int) -> dict[str, str]:
    """The other image against whose target each image's chance level is measured: one cycle through all samples.

    The keys follow the cycle.
    """
    cycle = [
        benchmark.samples[i]
        for i in np.random.default_rng([seed, len(benchmark.samples)]).permutation(len(benchmark.samples))
    ]
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


def sample_noise(seed: int, measure: str, sample_id: str, shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Standard normal noise that depends on the seed, the measure and the sample only: never on batches or order."""
    return torch.from_numpy(draws.generator(seed, measure, sample_id).standard_normal(shape))


def compute(benchmark: Benchmark, splits: Splits, ids: Sequence[str], *, seed: int, device: torch.device) -> Targets:
    """Computes score targets, tangent bases and noise directions in float64, and LPIPS embeddings of the targets.

    Those of large images, of which so many would not fit into memory, are computed for each batch when it is asked for.

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
    of = _Computation(benchmark, splits, seed, device)
    fits = len(data.ids) * _size(benchmark) <= _ROOM
    return Targets(data, partner, device, of, of.target, of(data) if fits else None, of.records())


def _size(benchmark: Benchmark) -> int:
    """Bytes of one image's targets, LPIPS embeddings aside."""
    maps = 1 + benchmark.rank + 2 * benchmark.directions
    maps += 0 if benchmark.second is None else 6
    return 4 * benchmark.dimension * maps


class _Computation:
    """Computes targets; score model and manifold are loaded once."""

    def __init__(self, benchmark: Benchmark, splits: Splits, seed: int, device: torch.device) -> None:
        self._benchmark, self._splits, self._seed, self._device = benchmark, splits, seed, device
        self._score = scores.load(benchmark, splits.train)
        fitted = parts.with_autoencoder(benchmark, device)
        self._manifold = None if fitted.manifold is None else manifolds.load(fitted, self._score, splits.train)
        self._second_model = None if benchmark.second is None else scores.load_second(benchmark, splits.train)
        asked = None if benchmark.second is None else benchmark.second.paper_responses
        self._with_responses = set(benchmark.samples[:asked])

    def __call__(self, data: Dataset) -> Computed:
        """Targets of these images."""
        found = [self._part(part) for part in data.chunks(_CHUNK)]
        target, basis, on, off = (torch.cat(column).to(self._device) for column in zip(*found, strict=True))
        embedded = None
        if "alignment_lpips" in self._benchmark.measures:
            embedded = torch.cat([lpips.embed(geometry.scale_to_unit_range(part)) for part in target.split(_CHUNK)])
        steps = geometry.Directions(on, off)
        return Computed(data.ids, target, basis, steps, embedded, self._second(data), self._noise_parts(basis, data))

    def target(self, part: Dataset) -> Float[Tensor, "b c h w"]:
        """Bayes targets of a few images, on the CPU, in the precision of the score model."""
        return bayes_target(self._score, self._benchmark, part, self._device).cpu()

    def _part(
        self, part: Dataset
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b d k"], Float[Tensor, "b _ d"], Float[Tensor, "b m d"]]:
        """Target, tangent basis and directions of a few images, computed in float64 and rounded to float32."""
        target = self.target(part)
        shape = (self._benchmark.dimension, self._benchmark.directions)
        noise = torch.stack([sample_noise(self._seed, "response", name, shape) for name in part.ids])
        basis = noise[:, :, :0]
        if self._manifold is not None:
            basis = self._manifold.tangent_basis(part.images.to(self._device)).cpu().double()
        steps = geometry.directions(basis, noise)
        return target.float(), basis.float(), steps.on.float(), steps.off.float()

    def _second(self, data: Dataset) -> SecondScores | None:
        """Scores of the second score model; `chance_target` is each image's own target, for its partner to take."""
        model, card = self._second_model, self._benchmark.second
        if model is None or card is None:
            return None

        def stacked(sigma: float, conditional: bool) -> Float[Tensor, "n c h w"]:
            found = [
                model.score(part.images.to(self._device), sigma, part.labels if conditional else None)
                for part in data.chunks(_CHUNK)
            ]
            return torch.cat(found).float().to(self._device)

        def known(conditional: bool) -> Float[Tensor, "n c h w"] | None:
            try:
                return stacked(card.paper_sigma, conditional)
            except CardError:  # a network without classes, or without the case of no class
                return None

        target = None if card.sigma is None else stacked(card.sigma, True) - stacked(card.sigma, False)
        return SecondScores(target, target, known(True), known(False))

    def _noise_parts(self, basis: Float[Tensor, "n d k"], data: Dataset) -> geometry.Directions | None:
        """The paper protocol's one noise vector per image, split; NaN where the benchmark asks for no responses."""
        if "paper" not in self._benchmark.measures or self._manifold is None:
            return None
        shape = self._benchmark.input_shape
        noise = torch.stack([sample_noise(self._seed, "paper", name, shape) for name in data.ids])
        asked = torch.tensor([name in self._with_responses for name in data.ids], device=basis.device)[:, None, None]
        split = paper.split_noise(basis, noise.to(basis))
        return geometry.Directions(*(part.float().where(asked, torch.nan) for part in split))

    def records(self) -> dict[str, dict[str, Any]]:
        """Hashes of the networks that a benchmark is made of, and the noise levels that discrete schedules round to."""
        found = {"score": _record(self._score, self._benchmark.sigma), "manifold": _record(self._manifold)}
        second = self._benchmark.second
        if second is not None:
            found |= {"second": {} if second.sigma is None else _record(self._second_model, second.sigma)}
            found |= {"paper": _record(self._second_model, second.paper_sigma)}
        return {part: record for part, record in found.items() if record}


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
        shift = draws.generator(benchmark.seed, "other classes", name).permutation(benchmark.classes - 1)[:count] + 1
        drawn.append((label + shift) % benchmark.classes)
    return torch.from_numpy(np.stack(drawn))


def _record(model: object, sigma: float | None = None) -> dict[str, Any]:
    digest = getattr(model, "weights_sha256", None)
    if digest is None:
        return {}
    used = {} if sigma is None else {"sigma": sigma, "sigma_used": model.rounded(sigma)}  # type: ignore[attr-defined]
    return {"weights_sha256": digest, **used}
