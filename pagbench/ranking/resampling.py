"""Which images the bootstrap draws: blocks of neighbours in the cycle of partners, the same for all models."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark
from pagbench.benchmarks.partners import cycle

Array = NDArray[np.float64]

RANK_REPLICATES = 10_000
"""Of what ranks: the largest of two thousand differences moves more from draw to draw than a mean does."""
_LENGTH = 10
"""Images that a block has at least: its first one's predecessor is not in it, which leaves out a tenth of what
neighbours have in common."""
_FEWEST = 25
"""Blocks that there are at least, where there are as many images."""
_FEWER = 3
"""Blocks that are drawn less than there are. Drawing R of R blocks gives (R - 1)/R of the variance of a mean and normal
tails for Student's; drawing R - 3 makes up for both, to two percent of the width from R = 5 on."""


class Resampling(NamedTuple):
    """How often each block of images is drawn in each replicate.

    The same drawings serve all models, so that differences between models are paired over images. They are whole
    numbers, so that shares of images come out the same on every machine, in whatever order they are summed.

    Attributes:
        blocks: the block of each image; shape (n,), every number from 0 to the largest.
        counts: shape (1 + replicates, blocks); the first row is the sample itself, each block once.
    """

    blocks: NDArray[np.int64]
    counts: Array

    def first(self, replicates: int) -> "Resampling":
        """The same with the first so many replicates alone."""
        return self._replace(counts=self.counts[: 1 + replicates])


def along(images: int, classes: int) -> NDArray[np.int64]:
    """Blocks of images that follow one another in the cycle of partners.

    An image's target is in its own alignment and in its predecessor's chance level, so that neighbours go together. A
    block has as many whole rounds of classes as make ten images, or fewer images where there would be too few blocks;
    what is left over belongs to the last one. In a cycle that goes through the classes in rounds, blocks of whole
    rounds are as stratified as the sample is.

    Returns:
        The block of each image, shape (images,).

    >>> along(60, 2).tolist()[:6], int(along(1000, 10).max()) + 1
    ([0, 0, 1, 1, 2, 2], 100)
    """
    rounds = -(-_LENGTH // classes)
    length = max(1, min(classes * rounds, images // _FEWEST))
    return np.minimum(np.arange(images) // length, max(images // length - 1, 0))


def count(images: int, classes: int) -> int:
    """How many blocks so many images make."""
    return int(along(images, classes).max()) + 1


def blocks_of(benchmark: Benchmark) -> NDArray[np.int64]:
    """The block of each of the benchmark's samples, along the cycle of its own noise seed; shape (samples,)."""
    block = along(len(benchmark.samples), benchmark.classes)
    of_sample = dict(zip(cycle(benchmark, benchmark.seed), block, strict=True))
    return np.array([of_sample[sample] for sample in benchmark.samples])


def resample(blocks: NDArray[np.int64], *, seed: int, replicates: int = RANK_REPLICATES) -> Resampling:
    """Draws whole blocks with replacement; the seed fixes the drawings."""
    count = int(blocks.max()) + 1
    counts = np.ones((1 + replicates, count), order="F")
    drawn = max(count - _FEWER, 1)
    counts[1:] = np.random.default_rng(seed).multinomial(drawn, np.full(count, 1 / count), size=replicates)
    return Resampling(blocks, counts)


def resample_samples(benchmark: Benchmark) -> Resampling:
    """Drawings of a benchmark's samples, in their order: as many as ranks need."""
    return resample(blocks_of(benchmark), seed=benchmark.seed)


def are_few(resampling: Resampling, measured: NDArray[np.bool_]) -> bool:
    """Whether the measured images, shape (n,), lie in too few blocks to tell how far these differ."""
    return len(np.unique(resampling.blocks[measured])) < _FEWEST


def one_by_one(measured: NDArray[np.bool_], *, seed: int) -> Resampling:
    """Draws the measured images, shape (n,), singly; the others, which have no values, count as the first."""
    return resample(np.where(measured, measured.cumsum() - 1, 0), seed=seed)


def means(resampling: Resampling, values: Array) -> Array:
    """Means of each column under each drawing; images that are not scored (NaN) are left out.

    Args:
        resampling: of n images.
        values: shape (n, columns).

    Returns:
        Shape (1 + replicates, columns), a column's means side by side in memory; NaN where no image of a replicate is
        scored.
    """
    blocks, counts = resampling
    scored = ~np.isnan(values)
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    sums, number = (
        np.add.reduceat(part[order], starts, axis=0) for part in (np.where(scored, values, 0.0), scored.astype(float))
    )
    total, mass = ((counts @ part).T for part in (sums, number))
    return np.divide(total, mass, out=np.full_like(total, np.nan), where=mass > 0).T
