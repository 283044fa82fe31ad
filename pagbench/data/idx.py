"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) in their publishers' IDX files."""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.cards import IdxCard
from pagbench.data import folder
from pagbench.data.folder import root
from pagbench.errors import DataError, first_line

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_SHAPE = (28, 28)
_DEBIAN = Path("/usr/share/datasets")
_NAMES = {"fashion-mnist": "FashionMNIST", "mnist": "MNIST"}


def load(card: IdxCard) -> tuple[Float[Tensor, "n 1 28 28"], Int[Tensor, "n"]]:
    """Pixels in [0, 1] and labels: the training images, then the test images.

    The files are looked for in torchvision's layout under `root()`, then where Debian's `dataset-fashion-mnist` puts
    them, and downloaded by torchvision otherwise.

    Raises:
        DataError: the files are missing and cannot be downloaded, are corrupt, or are not what the card's hash says.
    """
    folder = find(card) or _download(card)
    paths = [_present(folder, name) for name in _FILES]
    contents = [_read(path, card) for path in paths]
    arrays = [_parse(content, path) for content, path in zip(contents, paths, strict=True)]
    _check_counts(arrays, paths)
    _check_sha256(contents, folder, card)
    images = np.concatenate([arrays[0], arrays[2]])[:, None].astype(np.float32) / 255
    labels = np.concatenate([arrays[1], arrays[3]]).astype(np.int64)
    return torch.from_numpy(images), torch.from_numpy(labels)


def _check_counts(arrays: Sequence[np.ndarray], paths: Sequence[Path]) -> None:
    for images, labels in ((0, 1), (2, 3)):
        if len(arrays[images]) != len(arrays[labels]):
            raise DataError(
                f"{paths[labels]}: {len(arrays[labels])} labels, expected one for each of the {len(arrays[images])} "
                f"images of {paths[images].name}; delete both files to fetch them anew"
            )


def _check_sha256(contents: Sequence[bytes], folder: Path, card: IdxCard) -> None:
    if card.sha256 is None:
        return
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    if digest != card.sha256:
        raise DataError(
            f"{folder}: sha256 {digest[:12]}… of the {card.kind} files, expected {card.sha256[:12]}…; "
            "delete them to fetch them anew"
        )


def find(card: IdxCard) -> Path | None:
    """The folder that holds all four files, if there is one here."""
    places = [root() / _NAMES[card.kind] / "raw", _DEBIAN / card.kind]
    for place in places:
        if all(_present(place, name).is_file() for name in _FILES):
            return place
    return None


def _present(folder: Path, name: str) -> Path:
    """One file of a folder; the compressed one is preferred, since its md5 sum is published."""
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() else folder / name


def _publisher(card: IdxCard) -> Any:
    from torchvision import datasets

    return getattr(datasets, _NAMES[card.kind])


def _download(card: IdxCard) -> Path:
    place = root() / _NAMES[card.kind] / "raw"
    debian = " (Debian: apt-get install dataset-fashion-mnist)" if card.kind == "fashion-mnist" else ""
    by_hand = (
        f"put {_FILES[0]}.gz and the other three files there{debian}, or set PAGBENCH_DATA to torchvision's root folder"
    )
    folder.download(card.kind, place, lambda: _publisher(card)(root(), download=True), by_hand)
    return place


def _read(path: Path, card: IdxCard) -> bytes:
    """Decompressed content of one file."""
    try:
        content = path.read_bytes()
        if card.sha256 is None:
            _check_md5(path, content, card)
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); delete it to fetch it anew") from None


def _check_md5(path: Path, content: bytes, card: IdxCard) -> None:
    if path.suffix != ".gz":
        raise DataError(
            f"{path}: cannot be checked, for only the sum of {path.name}.gz is published; put that beside it"
        )
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    expected = dict(_publisher(card).resources)[path.name]
    if found != expected:
        raise DataError(f"{path}: md5 {found}, the publisher's is {expected}; delete the file to fetch it anew")


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
