"""Grids of small images and maps as PNG files, and cells of them as pages show them. No torch, no matplotlib.

The colours are those of the figures.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.float32]
Pixels = NDArray[np.uint8]

GAP = 1
"""Pixels around every cell."""
_BLUE_TO_RED = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
    (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip
"""ColorBrewer's RdBu, reversed: red raises the class, blue lowers it."""


@dataclass(frozen=True)
class Tile:
    """Some cells of a picture; pages show them enlarged.

    Attributes:
        path: of the picture, below the site's folder.
        x: left edge, in pixels of the picture.
        y: upper edge.
        width: of what is shown.
        height: of what is shown.
        whole: width and height of the picture.
        alt: what it shows, in words.
    """

    path: str
    x: int
    y: int
    width: int
    height: int
    whole: tuple[int, int]
    alt: str


def corner(row: int, column: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Left and upper edge of a cell, whose height and width are given."""
    return GAP + column * (cell[1] + GAP), GAP + row * (cell[0] + GAP)


def grid(rows: Sequence[Sequence[Values | None]], *, images: int) -> bytes:
    """A PNG of all cells, transparent between them and where there is none; the same bytes for the same cells.

    Args:
        rows: cells of shape (c, h, w) each, of one shape, as many in every row, and one at least.
        images: so many columns are images, in [0, 1]; the others are maps, in [-1, 1].
    """
    channels, height, width = next(values.shape for row in rows for values in row if values is not None)
    across, down = corner(len(rows), len(rows[0]), (height, width))
    canvas = np.zeros((down, across) if channels == 1 else (down, across, 4), np.uint8)
    for number, row in enumerate(rows):
        for column, values in enumerate(row):
            if values is not None:
                x, y = corner(number, column, (height, width))
                painted = (_grey if channels == 1 else _coloured)(values, column < images)
                canvas[y : y + height, x : x + width] = painted
    picture = Image.fromarray(canvas)
    if channels == 1:
        picture.putpalette(PALETTE.tobytes(), "RGBA")
    written = io.BytesIO()
    picture.save(written, "PNG", optimize=True)  # holds no time, no software's name
    return written.getvalue()


def _grey(values: Values, is_image: bool) -> Pixels:
    """Numbers of colours, shape (h, w): an image in [0, 1] in greys, a map in [-1, 1] from blue to red."""
    scaled = 128 + 127 * values[0].clip(0, 1) if is_image else 64 + 63 * values[0].clip(-1, 1)
    numbers: Pixels = np.rint(scaled).astype(np.uint8)
    return numbers


def _coloured(values: Values, is_image: bool) -> Pixels:
    """Red, green, blue and opacity, shape (h, w, 4), of an image in [0, 1] or a map in [-1, 1], whose zero is grey."""
    scaled = values.clip(0, 1) if is_image else (values.clip(-1, 1) + 1) / 2
    opaque = np.ones_like(scaled[:1])
    colours: Pixels = np.rint(255 * np.concatenate([scaled, opaque]).transpose(1, 2, 0)).astype(np.uint8)
    return colours


def _palette() -> Pixels:
    """Colours by number: 0 is transparent, 1 to 127 go from blue (-1) through nearly white to red (1), then greys."""
    anchors = np.array(_BLUE_TO_RED, float)
    places = np.linspace(0, len(anchors) - 1, 127)
    maps = np.stack([np.interp(places, range(len(anchors)), channel) for channel in anchors.T], axis=1)
    greys = np.linspace(0, 255, 128)[:, None].repeat(3, axis=1)
    colours = np.rint(np.concatenate([np.zeros((1, 3)), maps, greys])).astype(np.uint8)
    return np.column_stack([colours, [0, *[255] * 255]]).astype(np.uint8)


PALETTE = _palette()
"""Of pictures of grey images, shape (256, 4)."""
