"""ImageNet's validation images (ILSVRC 2012; Russakovsky et al. 2015), from a folder with one folder per class."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.cards import ImageNetCard
from pagbench.data import folder
from pagbench.data.files import ImageFiles
from pagbench.errors import DataError

_CLASSES = 1000
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def place() -> Path:
    """Where the folders of the classes are: `imagenet/val` below the folder of data sets; a link will do."""
    return folder.root() / "imagenet" / "val"


def find(card: ImageNetCard) -> tuple[tuple[str, ...], ImageFiles, Int[Tensor, "n"]]:
    """Ids, files and labels of all validation images that are there, in the order of their numbers; reads no picture.

    torchvision's layout: `val/<class>/ILSVRC2012_val_<number>.JPEG`; a label is the place of the class's name among the
    1,000 names in alphabetical order.

    Raises:
        DataError: the folder is missing, or has not 1,000 class folders.
    """
    home = place()
    classes = sorted(path for path in home.glob("n*") if path.is_dir())
    if len(classes) != _CLASSES:
        raise DataError(
            f"{home}: {len(classes)} class folders, expected 1,000; ImageNet cannot be downloaded without an account: "
            "put or link its validation images there, sorted into folders as torchvision.datasets.ImageNet does"
        )
    found = {
        int(match[1]): (path, label)
        for label, place in enumerate(classes)
        for path in place.iterdir()
        if (match := _NAME.fullmatch(path.name))
    }
    numbers = sorted(found)
    files = ImageFiles(tuple(found[number][0] for number in numbers), PREPARATIONS[card.preparation])
    return tuple(map(str, numbers)), files, torch.tensor([found[number][1] for number in numbers], dtype=torch.long)


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
