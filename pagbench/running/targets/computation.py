"""How targets are computed: scores, tangent bases, directions, embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset, Splits
from pagbench.densities import manifolds, scores
from pagbench.errors import CardError, DataError
from pagbench.measures import lpips, paper
from pagbench.measures.context import SecondScores
from pagbench.training import parts

_PART = 64
"""Images that are computed together."""


@dataclass(frozen=True)
class Computed:
    """Targets of some images, float32; fields as in `Batch`."""

    ids: tuple[str, ...]
    target: Float[Tensor, "n c h w"]
    basis: Float[Tensor, "n d k"]
    steps: geometry.Directions
    embedding: Float[Tensor, "n f"] | None
    second: SecondScores | None
    noise_parts: geometry.Directions | None

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, without those that there are not."""
        named: dict[str, Tensor | None] = {"target": self.target, "basis": self.basis, "embedding": self.embedding}
        for name, group in (("steps", self.steps), ("second", self.second), ("noise_parts", self.noise_parts)):
            named |= {} if group is None else {f"{name}.{part}": value for part, value in group._asdict().items()}
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def of(cls, ids: Sequence[str], tensors: Mapping[str, Tensor], device: torch.device) -> "Computed":
        """The inverse of `tensors`, on a device."""
        here = {name: tensor.to(device) for name, tensor in tensors.items()}

        def group(kind: type[Any], name: str) -> Any:
            found = {field: here.get(f"{name}.{field}") for field in kind._fields}
            return None if all(value is None for value in found.values()) else kind(**found)

        return cls(
            tuple(ids), here["target"], here["basis"], group(geometry.Directions, "steps"), here.get("embedding"),
            group(SecondScores, "second"), group(geometry.Directions, "noise_parts"),
        )  # fmt: skip

    def select(self, ids: Sequence[str]) -> "Computed":
        """Those of some of the images, in this order."""
        place = {name: index for index, name in enumerate(self.ids)}
        index = torch.tensor([place[name] for name in ids], device=self.target.device)
        return Computed.of(ids, {name: value[index] for name, value in self.tensors().items()}, self.target.device)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(value.numel() * value.element_size() for value in self.tensors().values())


def sample_noise(seed: int, measure: str, sample_id: str, shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
    """Standard normal noise that depends on the seed, the measure and the sample only: never on batches or order."""
    return torch.from_numpy(geometry.generator(seed, measure, sample_id).standard_normal(shape))


def size_of(benchmark: Benchmark) -> int:
    """Bytes of one image's targets, about: maps, and an LPIPS embedding."""
    maps = 1 + benchmark.rank + (2 if benchmark.rank else 1) * benchmark.directions
    maps += 0 if benchmark.second is None else 6
    embedded = 40_000 * max(1.0, min(benchmark.input_shape[1:]) / lpips.MIN_SIDE) ** 2
    return int(4 * (benchmark.dimension * maps + embedded))


class Computation:
    """Computes targets; score model and manifold are loaded when the first image needs them."""

    def __init__(self, benchmark: Benchmark, splits: Splits, seed: int, device: torch.device) -> None:
        self._benchmark, self._splits, self._seed, self._device = benchmark, splits, seed, device
        asked = None if benchmark.second is None else benchmark.second.paper_responses
        self._with_responses = set(benchmark.samples[:asked])

    @cached_property
    def _score(self) -> scores.ScoreModel:
        return scores.load(self._benchmark, self._splits.train)

    @cached_property
    def _manifold(self) -> manifolds.Manifold | None:
        fitted = parts.with_autoencoder(self._benchmark, self._device)
        return None if fitted.manifold is None else manifolds.load(fitted, self._score, self._splits.train)

    @cached_property
    def _second_model(self) -> scores.ScoreModel | None:
        return None if self._benchmark.second is None else scores.load_second(self._benchmark, self._splits.train)

    def __call__(self, data: Dataset) -> Computed:
        """Targets of these images."""
        found = [self._part(part) for part in data.chunks(_PART)]
        target, basis, on, off = (torch.cat(column).to(self._device) for column in zip(*found, strict=True))
        embedded = None
        if self._benchmark.needs("target_embedding"):
            embedded = torch.cat([lpips.embed(geometry.scale_to_unit_range(part)) for part in target.split(_PART)])
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
        """Scores of the second score model; the chance target is the partner's, and not known here."""
        model, card = self._second_model, self._benchmark.second
        if model is None or card is None:
            return None

        def stacked(sigma: float, conditional: bool) -> Float[Tensor, "n c h w"]:
            found = [
                model.score(part.images.to(self._device), sigma, part.labels if conditional else None)
                for part in data.chunks(_PART)
            ]
            return torch.cat(found).float().to(self._device)

        def known(conditional: bool) -> Float[Tensor, "n c h w"] | None:
            try:
                return stacked(card.paper_sigma, conditional)
            except CardError:  # a network without classes, or without the case of no class
                return None

        target = None if card.sigma is None else stacked(card.sigma, True) - stacked(card.sigma, False)
        return SecondScores(target, None, known(True), known(False))

    def _noise_parts(self, basis: Float[Tensor, "n d k"], data: Dataset) -> geometry.Directions | None:
        """The paper protocol's one noise vector per image, split; NaN where the benchmark asks for no responses."""
        if not self._benchmark.needs("noise_parts") or self._manifold is None:
            return None
        shape = self._benchmark.input_shape
        noise = torch.stack([sample_noise(self._seed, "paper", name, shape) for name in data.ids])
        asked = torch.tensor([name in self._with_responses for name in data.ids], device=basis.device)[:, None, None]
        split = paper.split_noise(basis, noise.to(basis))
        return geometry.Directions(*(part.float().where(asked, torch.nan) for part in split))

    def records(self) -> dict[str, dict[str, Any]]:
        """Hashes of the networks that a benchmark is made of, and the noise levels that discrete schedules round to.

        Closed forms have none, and are not built for it.
        """
        score, manifold, second = self._benchmark.score, self._benchmark.manifold, self._benchmark.second
        found: dict[str, dict[str, Any]] = {}
        if scores.is_network(score):
            found["score"] = _record(self._score, self._benchmark.sigma)
        if manifold is not None and manifolds.is_network(manifold, score):
            found["manifold"] = _record(self._manifold)
        if second is not None and scores.is_network(second.score):
            found["second"] = {} if second.sigma is None else _record(self._second_model, second.sigma)
            found["paper"] = _record(self._second_model, second.paper_sigma)
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
        shift = geometry.generator(benchmark.seed, "other classes", name).permutation(benchmark.classes - 1)[:count] + 1
        drawn.append((label + shift) % benchmark.classes)
    return torch.from_numpy(np.stack(drawn))


def _record(model: object, sigma: float | None = None) -> dict[str, Any]:
    digest = getattr(model, "weights_sha256", None)
    if digest is None:
        return {}
    used = {} if sigma is None else {"sigma": sigma, "sigma_used": model.rounded(sigma)}  # type: ignore[attr-defined]
    return {"weights_sha256": digest, **used}
