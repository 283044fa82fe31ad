"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) in their publishers' IDX files."""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pagbench.cards import Sha256
from pagbench.data import base
from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages
from pagbench.errors import DataError, first_line
from pagbench.storage.files import open_regular

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_SHAPE = (28, 28)
_DEBIAN = Path("/usr/share/datasets")
_NAMES = {"fashion-mnist": "FashionMNIST", "mnist": "MNIST"}
_FACTS = {
    "fashion-mnist": DatasetFacts(
        "Fashion-MNIST",
        size="30 MB",
        license="MIT",
        place="`$PAGBENCH_DATA/FashionMNIST/raw`",
        cite="H. Xiao, K. Rasul and R. Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking machine "
        "learning algorithms, arXiv 1708.07747.",
        fetched=True,
    ),
    "mnist": DatasetFacts(
        "MNIST",
        size="11 MB",
        license="not stated by the publisher",
        place="`$PAGBENCH_DATA/MNIST/raw`",
        cite="Y. LeCun, L. Bottou, Y. Bengio and P. Haffner (1998), Gradient-based learning applied to document "
        "recognition, Proc. IEEE 86(11).",
        fetched=True,
    ),
}


class IdxCard(DatasetCard):
    """MNIST or Fashion-MNIST: 60,000 training images (ids 0 to 59999), then 10,000 test images, 28×28, pixels / 255."""

    kind: Literal["fashion-mnist", "mnist"]
    sha256: Sha256 | None = None
    """Of the four decompressed files, in the order training images, training labels, test images, test labels; null to
    compare the compressed files with the publisher's md5 sums instead."""

    @property
    def facts(self) -> DatasetFacts:
        """Published by its authors, fetched by torchvision."""
        return _FACTS[self.kind]

    @property
    def _home(self) -> Path:
        """Where torchvision keeps the files."""
        return base.root() / _NAMES[self.kind] / "raw"

    def find(self) -> Path | None:
        """The folder that holds all four files, if there is one here: torchvision's, or that of Debian's package."""
        for folder in (self._home, _DEBIAN / self.kind):
            if all(_present(folder, name).is_file() for name in _FILES):
                return folder
        return None

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Training and test images."""
        return (("train", 60_000), ("test", 10_000))

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """The data set, where one of its files is missing."""
        if self.find() is not None:
            return None
        debian = "; on Debian: apt-get install dataset-fashion-mnist" if self.kind == "fashion-mnist" else ""
        return f"{self.facts.what}, {self.facts.size}, in {self._home}{debian}"

    def load(self) -> LoadedImages:
        """The training images, then the test images, shape (70000, 1, 28, 28).

        The files are looked for in torchvision's layout, then where Debian's `dataset-fashion-mnist` puts them, and
        downloaded by torchvision otherwise.

        Raises:
            DataError: the files are missing and cannot be downloaded, are corrupt, or not what the card's hash says.
        """
        folder = self.find() or self._download()
        paths = [_present(folder, name) for name in _FILES]
        contents = [self._read(path) for path in paths]
        arrays = [_parse(content, path) for content, path in zip(contents, paths, strict=True)]
        _check_counts(arrays, paths)
        digest = None if self.sha256 is None else hashlib.sha256(b"".join(contents)).hexdigest()
        if self.sha256 is not None and digest != self.sha256:
            raise DataError(
                f"{folder}: sha256 {str(digest)[:12]}… of the {self.kind} files, expected {self.sha256[:12]}…; "
                "delete them to fetch them anew"
            )
        images = np.concatenate([arrays[0], arrays[2]])[:, None].astype(np.float32) / 255
        return LoadedImages(images, np.concatenate([arrays[1], arrays[3]]).astype(np.int64))

    def _publisher(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, _NAMES[self.kind])

    def _download(self) -> Path:
        debian = " (Debian: apt-get install dataset-fashion-mnist)" if self.kind == "fashion-mnist" else ""
        by_hand = (
            f"put {_FILES[0]}.gz and the other three files there{debian}, or set PAGBENCH_DATA to torchvision's root "
            "folder"
        )
        base.download(self.kind, self._home, lambda: self._publisher()(base.root(), download=True), by_hand)
        return self._home

    def _read(self, path: Path) -> bytes:
        """Decompressed content of one file."""
        try:
            with open_regular(path) as file:
                content = file.read()
            if self.sha256 is None:
                self._check_md5(path, content)
            return gzip.decompress(content) if path.suffix == ".gz" else content
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read ({first_line(error)}); delete it to fetch it anew") from None

    def _check_md5(self, path: Path, content: bytes) -> None:
        if path.suffix != ".gz":
            raise DataError(
                f"{path}: cannot be checked, for only the sum of {path.name}.gz is published; put that beside it"
            )
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        expected = dict(self._publisher().resources)[path.name]
        if found != expected:
            raise DataError(f"{path}: md5 {found}, the publisher's is {expected}; delete the file to fetch it anew")


def _check_counts(arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> None:
    for images, labels in ((0, 1), (2, 3)):
        if len(arrays[images]) != len(arrays[labels]):
            raise DataError(
                f"{paths[labels]}: {len(arrays[labels])} labels, expected one for each of the {len(arrays[images])} "
                f"images of {paths[images].name}; delete both files to fetch them anew"
            )


def _present(folder: Path, name: str) -> Path:
    """One file of a folder; the compressed one is preferred, since its md5 sum is published."""
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() else folder / name


def _parse(content: bytes, path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes: magic number 0x800 + dimensions, sizes, values; big-endian."""
    shape = _SHAPE if "images" in path.name else ()
    start = 4 * (2 + len(shape))
    count, left = divmod(max(len(content) - start, 0), math.prod(shape))
    header = struct.pack(f">{2 + len(shape)}I", 0x801 + len(shape), count, *shape)
    if left or content[:start] != header:
        expected = f"images of {shape[0]}×{shape[1]} bytes" if shape else "labels of one byte"
        raise DataError(f"{path}: not a whole IDX file of {expected}; delete it to fetch it anew")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(count, *shape)
