"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their publisher's files, as torchvision lays them out."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.cards import CifarCard
from pagbench.data import folder
from pagbench.errors import DataError, first_line

_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""As torchvision calls them, whose import takes longer than PyTorch's."""


def load(card: CifarCard) -> tuple[Float[Tensor, "n 3 32 32"], Int[Tensor, "n"]]:
    """Pixels in [0, 1] and labels: the training images, then the test images. CIFAR-100's labels are its fine ones.

    The files are looked for below `folder.root()`, in torchvision's layout, and downloaded by torchvision otherwise.
    They are pickles: none is opened before its md5 sum is the publisher's.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are not the publisher's.
    """
    publisher = _publisher(card)
    place = folder.root() / _FOLDERS[card.kind]
    if find(card) is None:
        by_hand = (
            f"unpack {publisher.filename} into {folder.root()}, or set PAGBENCH_DATA to the folder that holds "
            f"{publisher.base_folder}"
        )
        folder.download(card.kind, place, lambda: publisher(folder.root(), download=True), by_hand)
    _check_md5(publisher, place)
    try:
        parts = [publisher(folder.root(), train=train) for train in (True, False)]
    except Exception as error:  # whatever unpickling raises; the sums of all but the names of the classes are right
        raise DataError(f"{place}: cannot be read ({first_line(error)}); delete it to fetch it anew") from None
    pixels = np.concatenate([part.data for part in parts]).transpose(0, 3, 1, 2)
    labels = np.concatenate([part.targets for part in parts]).astype(np.int64)
    return torch.from_numpy(pixels.astype(np.float32) / 255), torch.from_numpy(labels)


def find(card: CifarCard) -> Path | None:
    """The folder of the files, if there is one."""
    place = folder.root() / _FOLDERS[card.kind]
    return place if place.is_dir() else None


def lacking(card: CifarCard) -> list[str]:
    """Names of the publisher's files that the folder has not."""
    publisher = _publisher(card)
    names = [name for name, _ in (*publisher.train_list, *publisher.test_list)]
    return [name for name in names if not (folder.root() / publisher.base_folder / name).is_file()]


def _publisher(card: CifarCard) -> Any:
    from torchvision import datasets

    return getattr(datasets, _NAMES[card.kind])


def _check_md5(publisher: Any, place: Path) -> None:
    for name, expected in (*publisher.train_list, *publisher.test_list):
        try:
            with (place / name).open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise DataError(
                f"{place / name}: cannot be read ({error.strerror or error}); delete {place} to fetch it anew"
            ) from None
        if found != expected:
            raise DataError(
                f"{place / name}: md5 {found}, the publisher's is {expected}; delete {place} to fetch it anew"
            )
