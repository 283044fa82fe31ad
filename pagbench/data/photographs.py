"""Patches of eleven colour photographs that come with scikit-image, scikit-learn and matplotlib, 3×32×32.

A class is a photograph, and an image of it is a patch: "which photograph is this from" is texture and material
recognition. A photograph is cut into blocks, each block belongs to one split, and no patch leaves its block, so that
splits share no pixel. Mean colour and overall contrast are taken out, for they would tell the class.
"""

import hashlib
import io
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from pagbench.cards import Sha256
from pagbench.data.base import DatasetCard, DatasetFacts, LoadedImages, Source
from pagbench.errors import DataError, first_line
from pagbench.storage.files import open_regular


class _Photograph(NamedTuple):
    package: str
    path: str
    sha256: str
    source: Source


_SKIMAGE, _SKLEARN, _MATPLOTLIB = "scikit-image", "scikit-learn", "matplotlib"
_FOLDERS = {
    _SKIMAGE: ("skimage", "data"),
    _SKLEARN: ("sklearn", "datasets/images"),
    _MATPLOTLIB: ("matplotlib", "mpl-data/sample_data"),
}

PHOTOGRAPHS = (
    _Photograph(
        _SKIMAGE, "astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        Source("astronaut", "NASA", "public domain"),
    ),
    _Photograph(
        _SKIMAGE, "chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        Source("cat", "Stéfan van der Walt", "CC0"),
    ),
    _Photograph(
        _SKIMAGE, "coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        Source("coffee cup", "Rachel Michetti", "CC0"),
    ),
    _Photograph(
        _SKIMAGE, "hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        Source("Hubble eXtreme Deep Field", "NASA", "public domain"),
    ),
    _Photograph(
        _SKIMAGE, "ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        Source("stained colonic glands", "Center for Microscopy and Molecular Imaging", "no known restrictions"),
    ),
    _Photograph(
        _SKIMAGE, "motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        Source("motorcycle", "N. Nesic et al., Middlebury stereo benchmark 2014", "not stated by the publisher"),
    ),
    _Photograph(
        _SKIMAGE, "retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        Source("retina", "Mikael Häggström", "CC0"),
    ),
    _Photograph(
        _SKIMAGE, "rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        Source("rocket launch", "SpaceX", "public domain"),
    ),
    _Photograph(
        _SKLEARN, "china.jpg", "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        Source("Chinese temple", "danielbuechele (Flickr)", "CC BY 2.0"),
    ),
    _Photograph(
        _SKLEARN, "flower.jpg", "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        Source("dahlia", "vultilion (Flickr)", "CC BY 2.0"),
    ),
    _Photograph(
        _MATPLOTLIB, "grace_hopper.jpg", "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        Source("Grace Hopper", "James S. Davis, U.S. Navy", "public domain"),
    ),
)  # fmt: skip
"""The classes, in order."""

BLOCK, PATCH = 64, 32
"""Sides of blocks and patches, in pixels."""

PARTS = {"training": 2000, "calibration": 54, "test": 160}
"""Patches of each photograph, by split."""

_SHARES = {"test": 0.3, "calibration": 0.1}
_STRIDES = (32, 16, 8, 4, 2)
_LEAST_STD = 4
_CONTRAST = 0.2


class Patch(NamedTuple):
    """Where a patch lies.

    Attributes:
        split: training, calibration or test.
        photograph: index into `PHOTOGRAPHS`, which is its class.
        row: of its upper left pixel in the photograph.
        column: of its upper left pixel.
    """

    split: str
    photograph: int
    row: int
    column: int


class PhotographsCard(DatasetCard):
    """24,354 patches, the photographs in turns. A channel has mean .5, all have a standard deviation of .2."""

    kind: Literal["photographs"]
    sha256: Sha256
    """Of the pixels in 8 bits, in order, then the int64 labels; C order."""

    @property
    def facts(self) -> DatasetFacts:
        """Carried by three packages that pagbench needs anyway."""
        return DatasetFacts(
            "patches of photographs",
            size="none (scikit-image, scikit-learn and matplotlib carry the photographs)",
            license="of each photograph, see below",
            cite="S. van der Walt et al. (2014), scikit-image: image processing in Python, PeerJ 2:e453.",
            sources=tuple(photograph.source for photograph in PHOTOGRAPHS),
        )

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """The splits in which no pixel is shared."""
        return tuple((split, count * len(PHOTOGRAPHS)) for split, count in PARTS.items())

    def load(self) -> LoadedImages:
        """All patches, shape (24354, 3, 32, 32): training, calibration, test.

        Raises:
            DataError: a package's photograph is missing or another one, or is decoded to other pixels.
        """
        pictures = [_picture(photograph) for photograph in PHOTOGRAPHS]
        chosen = patches(pictures)
        pixels = np.stack([_even(pictures[p.photograph], p) for p in chosen])
        labels = np.array([patch.photograph for patch in chosen], dtype=np.int64)
        digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
        if digest != self.sha256:
            raise DataError(
                f"photographs: sha256 {digest[:12]}… of the patches, expected {self.sha256[:12]}…; this Pillow decodes "
                "JPEG to other pixels; try another release of it: pip install --upgrade pillow"
            )
        return LoadedImages(pixels.astype(np.float32) / 255, labels)


def patches(pictures: list[UInt8[np.ndarray, "h w 3"]]) -> list[Patch]:
    """Where the patches of the data set lie, in its order.

    Blocks fall to splits in the order of hashes of their names. In a split the patches that do not overlap come first,
    then those of a finer stride, each time in the order of hashes. Flat patches are left out.

    Args:
        pictures: the photographs, in the order of `PHOTOGRAPHS`.
    """
    by_class = [_by_split(index, picture) for index, picture in enumerate(pictures)]
    return [
        patch for split in PARTS for turn in zip(*(found[split] for found in by_class), strict=True) for patch in turn
    ]


def _by_split(photograph: int, picture: UInt8[np.ndarray, "h w 3"]) -> dict[str, list[Patch]]:
    """The patches of a photograph that are not flat, as many as each split takes."""
    height, width, _ = picture.shape
    blocks = [
        (row, column) for row in range(0, height - BLOCK + 1, BLOCK) for column in range(0, width - BLOCK + 1, BLOCK)
    ]
    blocks.sort(key=lambda block: _order(photograph, *block))
    ends = {split: max(1, round(share * len(blocks))) for split, share in _SHARES.items()}
    parts = {"test": blocks[: ends["test"]], "calibration": blocks[ends["test"] :][: ends["calibration"]]}
    parts["training"] = blocks[ends["test"] + ends["calibration"] :]
    flat = _flat(picture)
    return {
        split: list(
            islice((p for p in _candidates(split, photograph, mine) if not flat[p.row, p.column]), PARTS[split])
        )
        for split, mine in parts.items()
    }


def _order(*place: int) -> str:
    return hashlib.sha256(repr(place).encode()).hexdigest()


def _candidates(split: str, photograph: int, blocks: list[tuple[int, int]]) -> Iterator[Patch]:
    taken: set[tuple[int, int]] = set()
    for stride in _STRIDES:
        steps = range(0, BLOCK - PATCH + 1, stride)
        places = {(top + i, left + j) for top, left in blocks for i in steps for j in steps} - taken
        taken |= places
        yield from (Patch(split, photograph, *place) for place in sorted(places, key=lambda p: _order(photograph, *p)))


def _flat(picture: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "_ _"]:
    """By upper left pixel: whether a patch is flat, a channel of it varying by less than four of 255 levels.

    In whole numbers, so that it is the same everywhere.
    """
    n, values = PATCH**2, picture.astype(np.int64)
    varies = n * _sums(values**2) - _sums(values) ** 2
    flat: Bool[np.ndarray, "_ _"] = (varies < (_LEAST_STD * n) ** 2).any(axis=2)
    return flat


def _sums(values: Int64[np.ndarray, "h w 3"]) -> Int64[np.ndarray, "_ _ 3"]:
    """Over the patch at every pixel, by an integral image."""
    total = np.pad(values, ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    return total[PATCH:, PATCH:] - total[PATCH:, :-PATCH] - total[:-PATCH, PATCH:] + total[:-PATCH, :-PATCH]


def _even(picture: UInt8[np.ndarray, "h w 3"], patch: Patch) -> UInt8[np.ndarray, "3 32 32"]:
    """The patch with mean .5 in each channel and a standard deviation of .2 over all of them, clipped, in 8 bits."""
    part = picture[patch.row : patch.row + PATCH, patch.column : patch.column + PATCH]
    pixels = part.transpose(2, 0, 1).astype(np.float64)
    pixels -= pixels.mean(axis=(1, 2), keepdims=True)
    levels = (pixels * (_CONTRAST / pixels.std()) + 0.5) * 255
    even: UInt8[np.ndarray, "3 32 32"] = levels.round().clip(0, 255).astype(np.uint8)
    return even


def _picture(photograph: _Photograph) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    path = _installed(photograph)
    repair = f"reinstall {photograph.package}"
    try:
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)}); {repair}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != photograph.sha256:
        raise DataError(
            f"{path}: sha256 {digest[:12]}…, expected {photograph.sha256[:12]}…; {repair}, or take a release that "
            "carries the photograph as it was"
        )
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def _installed(photograph: _Photograph) -> Path:
    """Where a package keeps a photograph. The package is not imported."""
    module, folder = _FOLDERS[photograph.package]
    found = find_spec(module)
    assert found is not None  # a dependency
    return Path(str(found.origin)).parent / folder / photograph.path
