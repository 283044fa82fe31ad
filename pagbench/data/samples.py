"""Twenty pictures of CIFAR-10 or ImageNet that the foolbox package carries (Rauber et al. 2020)."""

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pagbench.cards import Sha256
from pagbench.data import imagenet
from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages
from pagbench.errors import DataError, MissingPackageError, check_extra

_COUNT = 20
_INSTALL = "install foolbox anew: pip install --force-reinstall --no-deps foolbox"


class SamplesCard(DatasetCard):
    """Twenty images that the foolbox package carries (ids 0 to 19), mirrored (20 to 39), and upside down (40 to 59)."""

    defines_target: ClassVar[bool] = False
    kind: Literal["samples"]
    of: Literal["cifar10", "imagenet"]
    sha256: Sha256
    """Of the twenty images' bytes followed by their labels as int64, C order."""

    @property
    def facts(self) -> DatasetFacts:
        """Carried by foolbox."""
        return DatasetFacts(
            "the foolbox package",
            size="none (the extra `samples` installs it)",
            license="MIT (the package)",
            cite="J. Rauber, R. Zimmermann, M. Bethge and W. Brendel (2020), Foolbox Native, JOSS 5(53).",
        )

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """The pictures, where the package is missing or carries others."""
        try:
            _find(self)
        except (DataError, MissingPackageError) as error:
            return str(error)
        return None

    def load(self) -> LoadedImages:
        """The pictures, then their mirror images, then the pictures upside down, shape (60, 3, side, side).

        The labels are those of the file names. ImageNet's pictures are brought to 224×224 as its validation images are.

        Raises:
            MissingPackageError: foolbox is not installed.
            DataError: it carries other pictures than the card's hash says.
        """
        from PIL import Image
        from torchvision.transforms import functional

        prepare = imagenet.crop_224 if self.of == "imagenet" else functional.to_tensor
        pictures, labels, content = [], [], b""
        for path, label in _find(self):
            content += path.read_bytes()
            with Image.open(path) as picture:
                pictures.append(prepare(picture.convert("RGB")).numpy())
            labels.append(label)
        digest = hashlib.sha256(content + np.array(labels, dtype=np.int64).tobytes()).hexdigest()
        if digest != self.sha256:
            raise DataError(f"samples of {self.of}: sha256 {digest[:12]}…, expected {self.sha256[:12]}…; {_INSTALL}")
        images = np.stack(pictures)
        return LoadedImages(
            np.concatenate([images, images[..., ::-1], images[..., ::-1, :]]), np.tile(np.array(labels, np.int64), 3)
        )


def _find(card: SamplesCard) -> list[tuple[Path, int]]:
    """Paths and labels of the pictures, in order: `<name>_<number>_<label>`.

    Raises:
        MissingPackageError: foolbox is not installed.
        DataError: it has others.
    """
    check_extra("foolbox")
    package = importlib.util.find_spec("foolbox")  # importing it would import what it attacks with
    folders = [Path(path) for path in (package and package.submodule_search_locations) or ()]
    found = sorted(path for folder in folders for path in folder.glob(f"data/{card.of}_[0-9][0-9]_*"))
    if len(found) != _COUNT:
        raise DataError(f"foolbox carries {len(found)} pictures of {card.of}, expected {_COUNT}; {_INSTALL}")
    return [(path, int(re.split(r"[_.]", path.name)[2])) for path in found]
