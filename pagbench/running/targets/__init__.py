"""What a benchmark needs of its images and no classifier changes: computed once, shared by all models."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.data import Dataset, Splits
from pagbench.measures import Batch
from pagbench.running.targets.computation import (
    Computation,
    Computed,
    bayes_target,
    other_classes,
    sample_noise,
    size_of,
)
from pagbench.running.targets.files import TargetFiles

__all__ = [
    "Computation",
    "Computed",
    "Targets",
    "bayes_target",
    "compute",
    "other_classes",
    "partners",
    "sample_noise",
    "size_of",
]

_CHUNK = 64
_LARGE = 2**14
"""Images whose targets are computed, kept on disk and read together; a quarter of it where one has more pixels."""

_MEMORY = 2**28
"""Bytes of targets that are kept in memory."""


@dataclass(frozen=True)
class Targets:
    """Targets of some of a benchmark's images and of their partners, a chunk of images at a time.

    A chunk is computed when it is first needed. It stays on disk for later runs, and in memory while there is room.

    Attributes:
        data: the images.
        partner: of each image.
        device: where the batches will be used.
        chunks: ids of the images of each chunk.
        of: computes the targets of any images.
        files: those of earlier runs.
        networks: what is known of the networks behind them, by their part in the benchmark; hashes and noise levels.
        kept: the chunks in memory, the latest last.
    """

    data: Dataset
    partner: dict[str, str]
    device: torch.device
    chunks: Sequence[tuple[str, ...]]
    of: Computation
    files: TargetFiles
    networks: dict[str, dict[str, Any]]
    kept: dict[int, Computed] = field(default_factory=dict)

    @cached_property
    def _chunk_of(self) -> dict[str, tuple[int, int]]:
        """Chunk of each image, and its place there."""
        return {name: (index, row) for index, ids in enumerate(self.chunks) for row, name in enumerate(ids)}

    def ordered(self, ids: Sequence[str]) -> list[str]:
        """These samples in the order in which batches cost least: each image is followed by its partner."""
        wanted = set(ids)
        return [name for name in self.partner if name in wanted]

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
        )

    def target(self, shown: Dataset) -> Float[Tensor, "n c h w"]:
        """The Bayes targets alone, on the CPU, of any of the benchmark's images."""
        if all(name in self._chunk_of for name in shown.ids):
            return self._gathered(shown.ids).target.cpu()
        return self.of.target(shown)

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
        back = torch.tensor([starts[chunk] + place for chunk, place in order], device=self.device)
        joined = {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}
        return Computed.of(ids, joined, self.device)

    def _chunk(self, index: int) -> Computed:
        """A chunk's targets, from memory, from disk, or computed now."""
        found = self.kept.pop(index, None)
        if found is None:
            ids = self.chunks[index]
            data = self.data.select(ids)
            place = self.files.place(ids, data.fingerprint())
            with self.files.alone(place):  # another process may be at it
                tensors = self.files.read(place)
                found = self.of(data) if tensors is None else Computed.of(ids, tensors, self.device)
                if tensors is None:
                    self.files.write(place, found.tensors())
        self.kept[index] = found  # the latest comes last
        while len(self.kept) > 2 and sum(chunk.size for chunk in self.kept.values()) > _MEMORY:
            del self.kept[next(iter(self.kept))]
        return found


def partners(benchmark: Benchmark, seed: int) -> dict[str, str]:
    """The other image against whose target each image's chance level is measured: one cycle through all samples.

    The keys follow the cycle.
    """
    cycle = [
        benchmark.samples[i]
        for i in np.random.default_rng([seed, len(benchmark.samples)]).permutation(len(benchmark.samples))
    ]
    return dict(zip(cycle, cycle[1:] + cycle[:1], strict=True))


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
    partner = partners(benchmark, seed)
    needed = set(ids) | {partner[name] for name in ids}
    chunks = _chunks(list(partner), needed, _CHUNK if benchmark.dimension <= _LARGE else _CHUNK // 4)
    data = splits.test.select([name for chunk in chunks for name in chunk])
    of = Computation(benchmark, splits, seed, device)
    networks = of.records()
    files = TargetFiles(benchmark, seed=seed, device=device, networks=networks, size=size_of(benchmark))
    return Targets(data, partner, device, chunks, of, files, networks)


def _chunks(cycle: Sequence[str], needed: Collection[str], size: int) -> list[tuple[str, ...]]:
    """Parts of the cycle of partners, the same for every run that needs most of them; of the others what is needed."""
    found = []
    for start in range(0, len(cycle), size):
        whole = tuple(cycle[start : start + size])
        part = tuple(name for name in whole if name in needed)
        found.append(whole if 2 * len(part) >= len(whole) else part)
    return [chunk for chunk in found if chunk]
