"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their publisher's files, as torchvision lays them out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pagbench.data import base
from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages
from pagbench.errors import DataError, first_line
from pagbench.storage.files import open_regular

_CITE = (
    "A. Krizhevsky (2009), Learning multiple layers of features from tiny images, technical report, University of "
    "Toronto."
)
_LICENSE = "not stated by the publisher"
_NAMES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""As torchvision calls them, whose import takes longer than PyTorch's."""
_FACTS = {
    "cifar10": DatasetFacts("CIFAR-10", "170 MB", _LICENSE, "`$PAGBENCH_DATA/cifar-10-batches-py`", _CITE, True),
    "cifar100": DatasetFacts("CIFAR-100", "169 MB", _LICENSE, "`$PAGBENCH_DATA/cifar-100-python`", _CITE, True),
}


class CifarCard(DatasetCard):
    """CIFAR-10 or CIFAR-100 (Krizhevsky 2009): 50,000 training images (ids 0 to 49999), then 10,000 test images."""

    kind: Literal["cifar10", "cifar100"]

    @property
    def facts(self) -> DatasetFacts:
        """Published by its author, fetched by torchvision."""
        return _FACTS[self.kind]

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Training and test images."""
        return (("train", 50_000), ("test", 10_000))

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """The folder, or the publisher's files that it lacks."""
        home = base.root() / _FOLDERS[self.kind]
        if not home.is_dir():
            return f"{self.facts.what}, {self.facts.size}, in {home}"
        publisher = self._publisher()
        names = [name for name, _ in (*publisher.train_list, *publisher.test_list)]
        absent = [name for name in names if not (home / name).is_file()]
        return f"{', '.join(absent)} of {self.facts.what}: delete {home} and fetch it anew" if absent else None

    def load(self) -> LoadedImages:
        """The training images, then the test images, shape (60000, 3, 32, 32). CIFAR-100's labels are its fine ones.

        The files are looked for below the folder of data sets, in torchvision's layout, and downloaded by torchvision
        otherwise. They are pickles: none is opened before its md5 sum is the publisher's.

        Raises:
            DataError: the files are missing and cannot be downloaded, or are not the publisher's.
        """
        publisher, root = self._publisher(), base.root()
        home = root / publisher.base_folder
        if not home.is_dir():
            by_hand = (
                f"unpack {publisher.filename} into {root}, or set PAGBENCH_DATA to the folder that holds "
                f"{publisher.base_folder}"
            )
            base.download(self.kind, home, lambda: publisher(root, download=True), by_hand)
        _check_md5(publisher, home)
        try:
            parts = [publisher(root, train=train) for train in (True, False)]
        except Exception as error:  # whatever unpickling raises; the sums of all but the names of the classes are right
            raise DataError(f"{home}: cannot be read ({first_line(error)}); delete it to fetch it anew") from None
        pixels = np.concatenate([part.data for part in parts]).transpose(0, 3, 1, 2)
        labels = np.concatenate([part.targets for part in parts]).astype(np.int64)
        return LoadedImages(pixels.astype(np.float32) / 255, labels)

    def _publisher(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, _NAMES[self.kind])


def _check_md5(publisher: Any, place: Path) -> None:
    for name, expected in (*publisher.train_list, *publisher.test_list):
        try:
            with open_regular(place / name) as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise DataError(
                f"{place / name}: cannot be read ({error.strerror or error}); delete {place} to fetch it anew"
            ) from None
        if found != expected:
            raise DataError(
                f"{place / name}: md5 {found}, the publisher's is {expected}; delete {place} to fetch it anew"
            )
