"""Data sets by card: float32 pixels in [0, 1], labels, and sample ids that stay the same for ever."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.benchmarks import Benchmark
from pagbench.cards import (
    CifarCard,
    DatasetCard,
    DigitsCard,
    DistractorCard,
    GaussiansCard,
    IdxCard,
    ImageNetCard,
    SamplesCard,
)
from pagbench.data import cifar, digits, distractor, gaussians, idx, imagenet, samples, sphere
from pagbench.data.files import ImageFiles
from pagbench.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Images with labels and ids.

    Attributes:
        ids: one id per image, unique.
        pixels: the images in memory, float32 in [0, 1], or their files, which are read when `images` is asked for.
        labels: class indices, shape (n,).
    """

    ids: tuple[str, ...]
    pixels: Float[Tensor, "n c h w"] | ImageFiles
    labels: Int[Tensor, "n"]

    @cached_property
    def images(self) -> Float[Tensor, "n c h w"]:
        """Float32 pixels in [0, 1]. Of files, all are read and kept: ask a part, by `select` or `chunks`."""
        return self.pixels if isinstance(self.pixels, Tensor) else self.pixels.load()

    def select(self, ids: Sequence[str]) -> "Dataset":
        """The images with these ids, in this order.

        Raises:
            DataError: an id is not in the data set.
        """
        position = {name: index for index, name in enumerate(self.ids)}
        missing = [name for name in ids if name not in position]
        if missing:
            raise DataError(f"sample id {missing[0]!r} is not among the {len(self.ids)} of the data set")
        index = torch.tensor([position[name] for name in ids], dtype=torch.long)
        return Dataset(tuple(ids), self.pixels[index], self.labels[index])

    def fingerprint(self) -> str:
        """A hash of the images and labels; of images in files, of the files' sizes and dates."""
        found = hashlib.sha256(self.labels.numpy().tobytes())
        found.update(self.pixels.numpy().tobytes() if isinstance(self.pixels, Tensor) else self.pixels.dates().encode())
        return found.hexdigest()

    def without(self, ids: Sequence[str]) -> "Dataset":
        """The images whose ids are not among these, in the data set's order."""
        excluded = set(ids)
        return self.select([name for name in self.ids if name not in excluded])

    def chunks(self, size: int) -> Iterator["Dataset"]:
        """Parts of up to `size` images, in order."""
        for start in range(0, len(self.ids), size):
            part = slice(start, start + size)
            yield Dataset(self.ids[part], self.pixels[part], self.labels[part])


@dataclass(frozen=True)
class Splits:
    """A benchmark's data: `train` fits networks and score models, `calibration` temperatures, `test` is measured."""

    train: Dataset
    calibration: Dataset
    test: Dataset


def load(card: DatasetCard) -> Dataset:
    """Loads the whole data set that a card names; of ImageNet, the names of its files.

    Raises:
        DataError: the content is not what the card says.
    """
    if isinstance(card, ImageNetCard):
        return Dataset(*imagenet.find(card))
    if isinstance(card, DigitsCard):
        images, labels = digits.load(card)
    elif isinstance(card, GaussiansCard):
        images, labels = gaussians.sample(card)
    elif isinstance(card, IdxCard):
        images, labels = idx.load(card)
    elif isinstance(card, DistractorCard):
        images, labels = distractor.load(card)
    elif isinstance(card, CifarCard):
        images, labels = cifar.load(card)
    elif isinstance(card, SamplesCard):
        images, labels = samples.load(card)
    else:
        images, labels = sphere.sample(card)
    if not (images.min() >= 0 and images.max() <= 1):
        raise DataError(f"{card.kind}: pixels in [{images.min():.3f}, {images.max():.3f}], expected [0, 1]")
    return Dataset(tuple(str(index) for index in range(len(images))), images, labels)


@lru_cache(maxsize=2)
def splits(benchmark: Benchmark) -> Splits:
    """Loads the three splits of a benchmark; kept in memory, since several parts of a run ask for them.

    Raises:
        DataError: the data set is missing or not what its card says.
    """
    dataset = load(benchmark.dataset)
    held_out = (*benchmark.samples, *benchmark.calibration)
    return Splits(
        train=dataset.without(held_out) if benchmark.training is None else dataset.select(benchmark.training),
        calibration=dataset.select(benchmark.calibration),
        test=dataset.select(benchmark.samples),
    )
