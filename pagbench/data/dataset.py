"""Data sets in memory or on disk, and the splits of a benchmark."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.data.base import DatasetCard
from pagbench.errors import DataError, first_line
from pagbench.storage import global_state
from pagbench.storage.files import open_regular


@dataclass(frozen=True)
class ImageFiles:
    """Image files in order; indexing selects files, `load` reads them.

    Attributes:
        paths: one per image.
        prepare: from a colour picture (`PIL.Image.Image`) to pixels in [0, 1], shape (c, h, w).
    """

    paths: tuple[Path, ...]
    prepare: Callable[[Any], Float[Tensor, "c h w"]]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor | slice) -> "ImageFiles":
        chosen = self.paths[index] if isinstance(index, slice) else tuple(self.paths[i] for i in index.tolist())
        return ImageFiles(chosen, self.prepare)

    def dates(self) -> str:
        """Size and date of every file, in order; what has been put in its place since has others."""
        stats = [path.stat() if path.exists() else None for path in self.paths]
        return repr([None if stat is None else (stat.st_size, stat.st_mtime_ns) for stat in stats])

    def load(self) -> Float[Tensor, "n c h w"]:
        """Reads and prepares all of them, in float32.

        Raises:
            DataError: one is missing or no picture, or there are none at all.
        """
        if not self.paths:
            raise DataError("no pictures in this part of the data set: the benchmark has no such split")
        with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
            return torch.stack(list(pool.map(self._read, self.paths)))

    def _read(self, path: Path) -> Float[Tensor, "c h w"]:
        from PIL import Image

        try:
            with open_regular(path) as file, Image.open(file) as picture:
                return self.prepare(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: not a readable picture ({first_line(error)}); copy it anew") from None


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images with labels and ids; indexing gives an image, shape (c, h, w), and its label.

    Attributes:
        ids: one id per image, unique.
        pixels: the images in memory, float32 in [0, 1], or their files, which are read when `images` is asked for.
        labels: class indices, shape (n,).
    """

    ids: tuple[str, ...]
    pixels: Float[Tensor, "n c h w"] | ImageFiles
    labels: Int[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], int]:
        """An image and its label, as a `torch.utils.data.DataLoader` takes them."""
        index = range(len(self))[index]  # or IndexError, which ends a loop
        part = slice(index, index + 1)
        return Dataset(self.ids[part], self.pixels[part], self.labels[part]).images[0], int(self.labels[index])

    def __repr__(self) -> str:
        shape = f", {'×'.join(map(str, self.pixels.shape[1:]))}" if isinstance(self.pixels, Tensor) else " in files"
        return f"Dataset({len(self)} images{shape})"

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


@runtime_checkable
class SplitDefinition(Protocol):
    """What says which images of which data set are used for what: a `Benchmark`."""

    @property
    def dataset(self) -> DatasetCard:
        """The data set."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Ids of the images that are measured, in order."""

    @property
    def calibration(self) -> tuple[str, ...]:
        """Ids of the images that temperatures are fitted on."""

    @property
    def training(self) -> tuple[str, ...] | None:
        """Ids of the training split; None for all images that are neither measured nor fitted on."""


def load(card: DatasetCard) -> Dataset:
    """Loads the whole data set that a card names; of one that lies in files, their names.

    Raises:
        DataError: the content is not what the card says.
    """
    loaded = card.load()
    labels = torch.from_numpy(loaded.labels)
    ids = loaded.ids or tuple(str(index) for index in range(len(labels)))
    if isinstance(loaded.pixels, ImageFiles):
        return Dataset(ids, loaded.pixels, labels)
    pixels = torch.from_numpy(loaded.pixels)
    if pixels.dtype != torch.float32 or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(
            f"{card.kind}: {pixels.dtype} pixels in [{pixels.min():.3f}, {pixels.max():.3f}], "
            "expected float32 in [0, 1]"
        )
    return Dataset(ids, pixels, labels)


@lru_cache(maxsize=2)
@global_state.known()
def splits(benchmark: SplitDefinition) -> Splits:
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
