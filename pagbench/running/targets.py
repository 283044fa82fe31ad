"""Targets: all that measures need to know of images and that no classifier changes. Computed once, for all models."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench import geometry
from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.partners import partners
from pagbench.data import Dataset, Splits
from pagbench.densities import manifolds, scores
from pagbench.errors import CardError, DataError
from pagbench.measures import Batch, lpips, paper
from pagbench.measures.context import SecondScores
from pagbench.running.target_files import TargetFiles
from pagbench.storage import global_state
from pagbench.training import components

_CHUNK = 64
"""Images whose targets are computed, kept on disk and read together; a quarter of it where images are large."""

_LARGE = 2**14
"""Pixel values of an image, above which it is large."""

_MEMORY = 2**28
"""Bytes of targets that are kept in memory."""

_PART = 64
"""Images that go through the score model together."""


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
    profile: Float[Tensor, "n s c h w"] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, without those that are None."""
        named: dict[str, Tensor | None] = {"target": self.target, "basis": self.basis, "embedding": self.embedding}
        named["profile"] = self.profile
        for name, group in (("steps", self.steps), ("second", self.second), ("noise_parts", self.noise_parts)):
            named |= {} if group is None else {f"{name}.{part}": value for part, value in group._asdict().items()}
        return {name: value for name, value in named.items() if value is not None}

    @classmethod
    def from_tensors(cls, ids: Sequence[str], tensors: Mapping[str, Tensor], device: torch.device) -> "Computed":
        """The inverse of `tensors`, on a device."""
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}

        def group(kind: type[Any], name: str) -> Any:
            values = {field: moved.get(f"{name}.{field}") for field in kind._fields}
            return None if all(value is None for value in values.values()) else kind(**values)

        return cls(
            tuple(ids), moved["target"], moved["basis"], group(geometry.Directions, "steps"), moved.get("embedding"),
            group(SecondScores, "second"), group(geometry.Directions, "noise_parts"), moved.get("profile"),
        )  # fmt: skip

    def select(self, ids: Sequence[str]) -> "Computed":
        """Those of some of the images, in this order."""
        position = {name: index for index, name in enumerate(self.ids)}
        index = torch.tensor([position[name] for name in ids], device=self.target.device)
        return Computed.from_tensors(
            ids, {name: value[index] for name, value in self.tensors().items()}, self.target.device
        )

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
    maps += (0 if benchmark.second is None else 6) + len(benchmark.sigmas or ())
    embedded = 40_000 * max(1.0, min(benchmark.input_shape[1:]) / lpips.MIN_SIDE) ** 2
    return int(4 * (benchmark.dimension * maps + embedded))


class Computation:
    """Computes targets; score model and manifold are loaded when the first image needs them."""

    def __init__(self, benchmark: Benchmark, splits: Splits, seed: int, device: torch.device) -> None:
        self._benchmark, self._splits, self._seed, self._device = benchmark, splits, seed, device
        responses = None if benchmark.second is None else benchmark.second.paper_responses
        self._with_responses = set(benchmark.samples[:responses])

    @cached_property
    def _score(self) -> scores.ScoreModel:
        return scores.load(self._benchmark, self._splits.train)

    @cached_property
    def _manifold(self) -> manifolds.Manifold | None:
        fitted = components.with_autoencoder(self._benchmark, self._device)
        return None if fitted.manifold is None else manifolds.load(fitted, self._score, self._splits.train)

    @cached_property
    def _second_model(self) -> scores.ScoreModel | None:
        return None if self._benchmark.second is None else scores.load_second(self._benchmark, self._splits.train)

    @global_state.known()
    def __call__(self, data: Dataset) -> Computed:
        """Targets of these images."""
        computed = [self._part(part) for part in data.chunks(_PART)]
        target, basis, on, off = (torch.cat(column).to(self._device) for column in zip(*computed, strict=True))
        embedded = None
        if self._benchmark.needs("target_embedding"):
            embedded = torch.cat([lpips.embed(geometry.scale_to_unit_range(part)) for part in target.split(_PART)])
        steps = geometry.Directions(on, off)
        second, noise_parts, profile = self._second(data), self._noise_parts(basis, data), self._profile(data, target)
        return Computed(data.ids, target, basis, steps, embedded, second, noise_parts, profile)

    @global_state.known()
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

    def _profile(self, data: Dataset, target: Float[Tensor, "n c h w"]) -> Float[Tensor, "n s c h w"] | None:
        """Bayes targets at every sigma of the benchmark; its own is there already."""
        sigmas = self._benchmark.sigmas
        if sigmas is None:
            return None
        known = {self._benchmark.sigma: target}
        for sigma in set(sigmas) - set(known):
            parts = (
                bayes_direction(self._score, self._benchmark, part, self._device, sigma) for part in data.chunks(_PART)
            )
            known[sigma] = torch.cat([part.float() for part in parts]).to(self._device)
        return torch.stack([known[sigma] for sigma in sigmas], dim=1)

    def _second(self, data: Dataset) -> SecondScores | None:
        """Scores of the second score model; the chance target is the partner's, and is added by `Targets.batch`."""
        model, card = self._second_model, self._benchmark.second
        if model is None or card is None:
            return None

        def stacked(sigma: float, conditional: bool) -> Float[Tensor, "n c h w"]:
            values = [
                model.score(part.images.to(self._device), sigma, part.labels if conditional else None)
                for part in data.chunks(_PART)
            ]
            return torch.cat(values).float().to(self._device)

        def stacked_if_known(conditional: bool) -> Float[Tensor, "n c h w"] | None:
            if card.paper_sigma is None:
                return None
            try:
                return stacked(card.paper_sigma, conditional)
            except CardError:  # the network knows no classes, or no s(x) without one
                return None

        target = None if card.sigma is None else stacked(card.sigma, True) - stacked(card.sigma, False)
        return SecondScores(target, None, stacked_if_known(True), stacked_if_known(False))

    def _noise_parts(self, basis: Float[Tensor, "n d k"], data: Dataset) -> geometry.Directions | None:
        """The paper protocol's one noise vector per image, split; NaN where the benchmark asks for no responses."""
        if not self._benchmark.needs("noise_parts") or self._manifold is None:
            return None
        shape = self._benchmark.input_shape
        noise = torch.stack([sample_noise(self._seed, "paper", name, shape) for name in data.ids])
        wanted = torch.tensor([name in self._with_responses for name in data.ids], device=basis.device)[:, None, None]
        split = paper.split_noise(basis, noise.to(basis))
        return geometry.Directions(*(part.float().where(wanted, torch.nan) for part in split))

    @global_state.known()
    def records(self) -> dict[str, dict[str, Any]]:
        """Hashes of the benchmark's networks, and the noise levels to which discrete schedules round.

        Closed forms have no hash; they are not built here.
        """
        score, manifold, second = self._benchmark.score, self._benchmark.manifold, self._benchmark.second
        records: dict[str, dict[str, Any]] = {}
        if scores.is_fitted(score):
            records["score"] = _record(self._score, self._benchmark.sigma)
        if manifold is not None and manifolds.is_fitted(manifold, score):
            records["manifold"] = _record(self._manifold)
        if second is not None and scores.is_fitted(second.score):
            records["second"] = {} if second.sigma is None else _record(self._second_model, second.sigma)
            records["paper"] = {} if second.paper_sigma is None else _record(self._second_model, second.paper_sigma)
        return {part: record for part, record in records.items() if record}


@global_state.known()
def bayes_target(
    score: scores.ScoreModel, benchmark: Benchmark, data: Dataset, device: torch.device
) -> Float[Tensor, "b c h w"]:
    """`bayes_direction` at the benchmark's sigma.

    Raises:
        DataError: it vanishes, as where all classes are alike.
        CardError: the score model has no s(x|y).
    """
    direction = bayes_direction(score, benchmark, data, device, benchmark.sigma)
    vanishing = direction.flatten(1).isnan().any(1)
    if vanishing.any():
        name = data.ids[int(vanishing.nonzero()[0])]
        raise DataError(f"sample {name}: s(x|y) - s(x) vanishes at sigma {benchmark.sigma}; use another sigma")
    return direction


@global_state.known()
def bayes_direction(
    score: scores.ScoreModel, benchmark: Benchmark, data: Dataset, device: torch.device, sigma: float
) -> Float[Tensor, "b c h w"]:
    """The direction of s(x|y) - s(x|not y), of unit length per image, in the precision of the score model.

    NaN where it vanishes, or is not finite. That of a density is exact. A network with both scores gives s(x|y) - s(x),
    which has the same direction. For one without s(x), s(x|not y) is replaced by the mean of s(x|c) over a few other
    classes, drawn for each sample: a proxy, since the posterior would weigh the classes, and by far the nearest ones
    most.

    Raises:
        CardError: the score model has no s(x|y).
    """
    images, count = data.images.to(device), benchmark.score.other_classes
    if isinstance(score, scores.ClassMixture):
        gradient = score.log_odds_gradient(images, sigma, data.labels)
    elif count is None:
        gradient = score.score(images, sigma, data.labels) - score.score(images, sigma)
    else:
        drawn = other_classes(benchmark, data, count)
        others = [score.score(images, sigma, labels) for labels in drawn.T]
        gradient = score.score(images, sigma, data.labels) - torch.stack(others).mean(0)
    length = gradient.flatten(1).norm(dim=1)
    usable = (length > 0) & length.isfinite()
    return (gradient / length[:, None, None, None]).where(usable[:, None, None, None], torch.nan)


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


@dataclass(frozen=True)
class Targets:
    """Targets of some of a benchmark's images and of their partners, a chunk of images at a time.

    A chunk is computed when it is first needed. It stays on disk for later runs, and in memory while there is room.

    Attributes:
        data: the images.
        partner: of each image.
        device: where the batches will be used.
        chunks: ids of the images of each chunk.
        computation: computes the targets of any images.
        files: keeps chunks on disk.
        networks: hashes and noise levels of the networks behind the targets, by their part in the benchmark.
        memory: the chunks in memory, by number, the latest last.
    """

    data: Dataset
    partner: dict[str, str]
    device: torch.device
    chunks: Sequence[tuple[str, ...]]
    computation: Computation
    files: TargetFiles
    networks: dict[str, dict[str, Any]]
    memory: dict[int, Computed] = field(default_factory=dict)

    @cached_property
    def _chunk_of(self) -> dict[str, tuple[int, int]]:
        """Chunk of each image, and its position there."""
        return {name: (index, row) for index, ids in enumerate(self.chunks) for row, name in enumerate(ids)}

    def ordered(self, ids: Sequence[str]) -> list[str]:
        """These samples in the order in which batches cost least: each image is followed by its partner."""
        wanted = set(ids)
        return [name for name in self.partner if name in wanted]

    @global_state.known()
    def batch(self, ids: Sequence[str]) -> Batch:
        """The batch of these samples, in this order."""
        others = [self.partner[name] for name in ids]
        images = self.data.select(ids)
        both = self._gathered(list(dict.fromkeys([*ids, *others])))
        own, chance = both.select(ids), both.select(others)
        second = own.second
        if second is not None and chance.second is not None:
            second = second._replace(chance_target=chance.second.target)
        return Batch(
            images=images.images.to(self.device),
            labels=images.labels.to(self.device),
            target=own.target,
            chance_target=chance.target,
            basis=own.basis,
            chance_basis=chance.basis,
            on=own.steps.on,
            off=own.steps.off,
            embedding=own.embedding,
            chance_embedding=chance.embedding,
            second=second,
            noise_parts=own.noise_parts,
            ids=tuple(ids),
            profile=own.profile,
            chance_profile=chance.profile,
        )

    @global_state.known()
    def target(self, images: Dataset) -> Float[Tensor, "n c h w"]:
        """The Bayes targets alone, on the CPU, of any of the benchmark's images."""
        if all(name in self._chunk_of for name in images.ids):
            return self._gathered(images.ids).target.cpu()
        return self.computation.target(images)

    def _gathered(self, ids: Sequence[str]) -> Computed:
        """Targets of these samples, in this order, out of their chunks."""
        rows: dict[int, list[int]] = {}
        order: list[tuple[int, int]] = []
        for name in ids:
            chunk, row = self._chunk_of[name]
            rows.setdefault(chunk, []).append(row)
            order.append((chunk, len(rows[chunk]) - 1))
        starts = dict(zip(rows, np.cumsum([0, *map(len, rows.values())]), strict=False))
        parts = [{name: value[taken] for name, value in self._chunk(c).tensors().items()} for c, taken in rows.items()]
        back = torch.tensor([starts[chunk] + position for chunk, position in order], device=self.device)
        joined = {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}
        return Computed.from_tensors(ids, joined, self.device)

    def _chunk(self, index: int) -> Computed:
        """A chunk's targets, from memory, from disk, or computed now."""
        computed = self.memory.pop(index, None)
        if computed is None:
            ids = self.chunks[index]
            data = self.data.select(ids)
            path = self.files.path(ids, data.fingerprint())
            with self.files.locked(path):
                tensors = self.files.read(path)
                computed = (
                    self.computation(data) if tensors is None else Computed.from_tensors(ids, tensors, self.device)
                )
                if tensors is None:
                    self.files.write(path, computed.tensors())
        self.memory[index] = computed
        while len(self.memory) > 2 and sum(chunk.size for chunk in self.memory.values()) > _MEMORY:
            del self.memory[next(iter(self.memory))]
        return computed


@global_state.known()
def compute(benchmark: Benchmark, splits: Splits, ids: Sequence[str], *, seed: int, device: torch.device) -> Targets:
    """Score targets, tangent bases and noise directions, in float64, and LPIPS embeddings of the targets.

    Args:
        benchmark: the definition.
        splits: its data.
        ids: samples that will be measured; their partners are added.
        seed: of the noise and of the permutation.
        device: where the batches will be used.

    Raises:
        DataError: the target of an image vanishes, so that nothing can be compared with it.
    """
    partner = partners(benchmark, seed, splits.test.labels.tolist())
    needed = set(ids) | {partner[name] for name in ids}
    chunks = _chunks(list(partner), needed, _CHUNK if benchmark.dimension <= _LARGE else _CHUNK // 4)
    data = splits.test.select([name for chunk in chunks for name in chunk])
    computation = Computation(benchmark, splits, seed, device)
    networks = computation.records()
    files = TargetFiles(benchmark, seed=seed, device=device, networks=networks, size=size_of(benchmark))
    return Targets(data, partner, device, chunks, computation, files, networks)


def _chunks(cycle: Sequence[str], needed: Collection[str], size: int) -> list[tuple[str, ...]]:
    """Parts of the cycle of partners: whole ones where a run needs most of it, so that runs share files."""
    chunks = []
    for start in range(0, len(cycle), size):
        whole = tuple(cycle[start : start + size])
        part = tuple(name for name in whole if name in needed)
        chunks.append(whole if 2 * len(part) >= len(whole) else part)
    return [chunk for chunk in chunks if chunk]
