"""What a run is: one frozen value that every step gets whole. How its samples are shared out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pagbench import columns, results
from pagbench.benchmarks import Benchmark
from pagbench.errors import ContractError
from pagbench.results import StoragePath, Store

CHUNK = 64
"""Units and shares begin and end at multiples of so many samples, whose targets are kept together."""

_LARGEST = 1024


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run, the same in every process that takes part in it. Batch size, device and folder change no row.

    Attributes:
        benchmark: the definition.
        ids: samples that are measured.
        device: where to compute.
        seed: of noise and permutation.
        batch_size: images at a time; None for as many as fit.
        measures: optional ones, beside the benchmark's own.
        folder: results folder, or its URL.
        published: folder of published results, from which rows of anchors are taken; None to measure these.
        overwrite: measure again what the folder has of the models that the user named.
        timeout: seconds for a batch, after which its model is given up; None for any time.
        command: the command line, for the provenance of the rows.
        started: when the run began, UTC.
    """

    benchmark: Benchmark
    ids: Sequence[str]
    device: torch.device
    seed: int
    batch_size: int | None = None
    measures: tuple[str, ...] = ()
    folder: str | StoragePath = ""
    published: Path | None = None
    overwrite: bool = False
    timeout: float | None = None
    command: str = ""
    started: str = ""

    def ids_of(self, measure: str | None) -> tuple[str, ...]:
        """The samples of the run that a measure is taken of; None for the benchmark's own measures."""
        wanted = set(columns.samples_of(self.benchmark, measure))
        return tuple(name for name in self.ids if name in wanted)

    def store(self, model: str, measure: str | None) -> Store:
        """Where the rows of a model are kept."""
        return results.store_of(self.folder, self.benchmark, model, measure)


def unit_size(images: int, models: int, workers: int) -> int:
    """Samples of one unit, so that each worker gets about four units; a multiple of `CHUNK`.

    >>> unit_size(1000, 1, 2), unit_size(1000, 68, 2), unit_size(10_000, 68, 16)
    (128, 1024, 1024)
    """
    even = -(-images * models // (4 * workers))
    return max(CHUNK, min(_LARGEST, -(-even // CHUNK) * CHUNK))


@dataclass(frozen=True)
class Share:
    """The i-th of n shares of every model's samples; i counts from 1."""

    number: int = 1
    shares: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Share":
        """A share from `i/n`; everything from None.

        >>> Share.parse("2/8")
        Share(number=2, shares=8)

        Raises:
            ContractError: the text is no share.
        """
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ContractError(f"shard {text!r}; expected i/n with i from 1 to n, as 1/8")
        return cls(int(match[1]), int(match[2]))

    def select(self, ids: Sequence[str]) -> Sequence[str]:
        """Its samples; where there are enough of them, shares begin at whole chunks of targets."""
        first, last = (self._bound(len(ids), index) for index in (self.number - 1, self.number))
        return ids[first:last]

    def _bound(self, images: int, index: int) -> int:
        bound = images * index // self.shares
        return bound if index == self.shares or images < CHUNK * self.shares else bound // CHUNK * CHUNK
