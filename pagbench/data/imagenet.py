"""ImageNet's validation images (ILSVRC 2012; Russakovsky et al. 2015), from a folder with one folder per class."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from pagbench.data import base
from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages, Tensor
from pagbench.errors import DataError

_CLASSES = 1000
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


class ImageNetCard(DatasetCard):
    """The 50,000 validation images of ILSVRC 2012; an id is the number in the file's name, 1 to 50000."""

    kind: Literal["imagenet"]
    preparation: Literal["resize-256-crop-224", "crop-64"]
    """`resize-256-crop-224`: shorter side to 256, bilinear, centre crop, as RobustBench and torchvision do. `crop-64`:
    halved by box filter, then bicubic to a shorter side of 64, centre crop, as ADM's training images were made."""

    @property
    def facts(self) -> DatasetFacts:
        """Given out by its authors to those who have an account."""
        return DatasetFacts(
            "ImageNet's 50,000 validation images (ILSVRC 2012)",
            size="6.7 GB, by hand (needs an account)",
            license="ImageNet's terms of access (non-commercial research)",
            place="`$PAGBENCH_DATA/imagenet/val/<class>/*.JPEG`, as `torchvision.datasets.ImageNet` sorts them; a link "
            "will do",
            cite="O. Russakovsky et al. (2015), ImageNet Large Scale Visual Recognition Challenge, IJCV 115(3).",
        )

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """The folder, its classes, or pictures with these ids."""
        home = place()
        if not home.is_dir():
            return f"{self.facts.what}, {self.facts.size}: put or link them, in a folder for each class, at {home}"
        try:
            absent = sorted(set(ids) - {str(number) for number, _, _ in _find(home)})
        except DataError as error:
            return str(error)
        return f"{len(absent)} of {len(ids)} pictures in {home}, as number {absent[0]}" if absent else None

    def load(self) -> LoadedImages:
        """All validation images that are there, in the order of their numbers; reads no picture.

        torchvision's layout: `val/<class>/ILSVRC2012_val_<number>.JPEG`; a label is the place of the class's name among
        the 1,000 names in alphabetical order.

        Raises:
            DataError: the folder is missing, or has not 1,000 class folders.
        """
        from pagbench.data.dataset import ImageFiles

        pictures = _find(place())
        files = ImageFiles(tuple(path for _, path, _ in pictures), PREPARATIONS[self.preparation])
        labels = np.array([label for _, _, label in pictures], dtype=np.int64)
        return LoadedImages(files, labels, tuple(str(number) for number, _, _ in pictures))


def place() -> Path:
    """Where the folders of the classes are: `imagenet/val` below the folder of data sets; a link will do."""
    return base.root() / "imagenet" / "val"


def _find(home: Path) -> list[tuple[int, Path, int]]:
    """Number, file and label of every picture that is there, in the order of the numbers."""
    classes = sorted(path for path in home.glob("n*") if path.is_dir())
    if len(classes) != _CLASSES:
        raise DataError(
            f"{home}: {len(classes)} class folders, expected 1,000; ImageNet cannot be downloaded without an account: "
            "put or link its validation images there, sorted into folders as torchvision.datasets.ImageNet does"
        )
    found = {
        int(match[1]): (path, label)
        for label, folder in enumerate(classes)
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name))
    }
    return [(number, *found[number]) for number in sorted(found)]


def crop_224(picture: Any) -> Float[Tensor, "3 224 224"]:
    """Shorter side to 256, bilinear with antialiasing, and the central 224×224."""
    from torchvision import transforms

    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    pixels: Tensor = transforms.Compose(steps)(picture)
    return pixels


def crop_64(picture: Any) -> Float[Tensor, "3 64 64"]:
    """Halved by averaging while both sides keep 128, then bicubic to a shorter side of 64, and the central square.

    The preparation of Dhariwal & Nichol 2021 (arXiv 2105.05233), on whose images ADM and EDM were trained.
    """
    from PIL import Image
    from torchvision.transforms import functional

    side = 64
    while min(picture.size) >= 2 * side:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = side / min(picture.size)
    width, height = round(picture.width * scale), round(picture.height * scale)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    top, left = (height - side) // 2, (width - side) // 2  # torchvision's central crop rounds half a pixel to even
    pixels: Tensor = functional.to_tensor(functional.crop(picture, top, left, side, side))
    return pixels


PREPARATIONS: dict[str, Callable[[Any], Tensor]] = {"resize-256-crop-224": crop_224, "crop-64": crop_64}
