"""Blocks of images for all models; settings that cannot be computed here are left out, with the reason."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pagbench import data
from pagbench.benchmarks import Benchmark
from pagbench.cards import ManifoldCard
from pagbench.errors import CardError, DataError, WeightsError
from pagbench.measures import lpips
from pagbench.models.batches import BatchSize
from pagbench.running import targets
from pagbench.studies.stability.blocks import Block
from pagbench.studies.stability.choices import RESPONSES
from pagbench.studies.stability.sources import Sources
from pagbench.studies.stability.ways import Alignment, Choice, Response, Setting, Target, Way

_BLOCK = 50


class Prepared:
    """All blocks of a benchmark, one at a time.

    Args:
        benchmark: the definition.
        images: the first so many of the cycle of partners, so that each image's partner is among them.
        device: where to compute.
    """

    def __init__(self, benchmark: Benchmark, images: int, device: torch.device) -> None:
        self.benchmark, self._device = benchmark, device
        self._splits = data.splits(benchmark)
        self._partner = targets.partners(benchmark, benchmark.seed)
        self.ids = tuple(self._partner)[:images]
        self.sources = Sources(benchmark, self._splits, device)
        size = min(_BLOCK, BatchSize(None, benchmark, device).size)
        starts = [start for start in range(0, len(self.ids), size) if start == 0 or start + 1 < len(self.ids)]
        self.parts = [self.ids[a:b] for a, b in zip(starts, [*starts[1:], len(self.ids)], strict=True)]

    def images(self, ids: Sequence[str]) -> data.Dataset:
        """The images themselves."""
        return self._splits.test.select(ids)

    def block(self, number: int, choices: Sequence[Choice]) -> Block:
        """A block with targets and tangent spaces of these choices."""
        ids = self.parts[number]
        shown = self.images(ids)
        ways = [setting.way for choice in choices for setting in choice.settings]
        wanted = dict.fromkeys(way.target for way in ways if isinstance(way, Alignment))
        cards = dict.fromkeys(way.manifold for way in ways if isinstance(way, Response))
        return Block(
            self.benchmark,
            ids,
            shown.images.to(self._device),
            shown.labels.to(self._device),
            {target: self._map(target, ids) for target in wanted},
            {card: self._basis(card, ids) for card in cards} if self._responds(ids) else {},
        )

    def _responds(self, ids: Sequence[str]) -> bool:
        return ids[0] in self.ids[:RESPONSES]

    def _map(self, target: Target, ids: Sequence[str]) -> Tensor:
        """Of the images and of the last one's partner."""
        return self.sources.target(target, self.images([*ids, self._partner[ids[-1]]]))

    def _basis(self, card: ManifoldCard, ids: Sequence[str]) -> Tensor:
        return self.sources.basis(card, self.images(ids))

    def possible(
        self, choices: Sequence[Choice], advance: Callable[[str, int], None]
    ) -> tuple[list[Choice], list[str]]:
        """The choices with those settings that can be computed here, and why others cannot.

        Targets and tangent spaces of all images are computed on the way; they stay on disk.

        Args:
            choices: all of them.
            advance: called with the name of a setting and a number of images that are done.
        """
        found, left_out = [], []
        for choice in choices:
            kept: list[Setting] = []
            for setting in choice.settings:
                told = f"{choice.name}: {setting.name}"
                if flaw := self._flaw(setting.way, partial(advance, told)):
                    left_out.append(f"{told}: {flaw}")
                else:
                    kept.append(setting)
            if len(kept) > 1 and kept[0] is choice.published:
                found.append(replace(choice, settings=tuple(kept)))
        return found, left_out

    def _flaw(self, way: Way, advance: Callable[[int], None]) -> str:
        """Why a setting cannot be computed here; empty where it can."""
        if isinstance(way, Alignment) and (file := lpips.lacking(way.similarity.backbone)):
            return f"torchvision's {Path(file).name} is not in the cache of torch.hub, and nothing is downloaded"
        try:
            for count in self._computed(way):
                advance(count)
        except (CardError, DataError, WeightsError) as error:
            return str(error)
        return ""

    def _computed(self, way: Way) -> Iterator[int]:
        for ids in self.parts:
            if isinstance(way, Alignment):
                self._map(way.target, ids)
            elif isinstance(way, Response) and self._responds(ids):
                self._basis(way.manifold, ids)
            yield len(ids)
