"""Twenty pictures of CIFAR-10 or ImageNet that the foolbox package carries (Rauber et al. 2020)."""

import hashlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pagbench.cards import SamplesCard
from pagbench.data import imagenet
from pagbench.errors import DataError

_COUNT = 20


def load(card: SamplesCard) -> tuple[Float[Tensor, "n 3 h w"], Int[Tensor, "n"]]:
    """Pixels in [0, 1] and labels: the pictures, then their mirror images, then the pictures upside down.

    The labels are those of the file names. ImageNet's pictures are brought to 224×224 as its validation images are.

    Raises:
        DataError: foolbox is missing or carries other pictures than the card's hash says.
    """
    from PIL import Image
    from torchvision.transforms import functional

    prepare = imagenet.crop_224 if card.of == "imagenet" else functional.to_tensor
    pictures, labels, content = [], [], b""
    for path, label in find(card):
        content += path.read_bytes()
        with Image.open(path) as picture:
            pictures.append(prepare(picture.convert("RGB")))
        labels.append(label)
    digest = hashlib.sha256(content + np.array(labels, dtype=np.int64).tobytes()).hexdigest()
    if digest != card.sha256:
        raise DataError(
            f"samples of {card.of}: sha256 {digest[:12]}…, expected {card.sha256[:12]}…; install foolbox 3.3.4 anew"
        )
    images = torch.stack(pictures)
    return torch.cat([images, images.flip(3), images.flip(2)]), torch.tensor(labels).repeat(3)


def find(card: SamplesCard) -> list[tuple[Path, int]]:
    """Paths and labels of the pictures, in order: `<name>_<number>_<label>`.

    Raises:
        DataError: foolbox is missing or has others.
    """
    package = importlib.util.find_spec("foolbox")  # importing it would import what it attacks with
    home = Path(next(iter((package and package.submodule_search_locations) or [""]))) / "data"
    found = sorted(home.glob(f"{card.of}_[0-9][0-9]_*"))
    if len(found) != _COUNT:
        raise DataError(f"{home}: {len(found)} pictures of {card.of}, expected {_COUNT}; install foolbox 3.3.4 anew")
    return [(path, int(re.split(r"[_.]", path.name)[2])) for path in found]
