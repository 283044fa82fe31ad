"""Pictures of a model: one PNG for each benchmark with images, Bayes targets and gradients, and its cells on pages."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.results.thumbnails import Thumbnails
from pagbench.studies.models import StudiedModel, Study

Values = NDArray[np.float32]
Pixels = NDArray[np.uint8]

GAP = 1
"""Pixels around every cell."""
_TITLES = {
    "best": "Best aligned",
    "median": "About the median",
    "worst": "Worst aligned",
    "first": "The benchmark's first images",
}


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


@dataclass(frozen=True)
class Row:
    """What a model does on one image.

    Attributes:
        kind: why it is shown: best, median or worst aligned, or first of the benchmark.
        sample: id of the image.
        label: its class; None where it was not measured.
        alignment: in the benchmark's ranking column; None where not scored.
        cosine: with the Bayes target; None where not scored.
        image: the image.
        target: the Bayes target; None where results have none.
        gradient: the model's gradient; None where not scored.
    """

    kind: str
    sample: str
    label: int | None
    alignment: float | None
    cosine: float | None
    image: Tile
    target: Tile | None
    gradient: Tile | None


@dataclass(frozen=True)
class Gallery:
    """The pictures of a model on a benchmark.

    Attributes:
        model: its id.
        measure: short name of the benchmark's ranking column; empty where nothing is said of alignment.
        rows: best, median and worst aligned images where results have them, then the first ones.
    """

    model: str
    measure: str
    rows: tuple[Row, ...]

    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows of each kind, after its name for people."""
        by_kind = {kind: [row for row in self.rows if row.kind == kind] for kind in _TITLES}
        return [(_TITLES[kind], rows) for kind, rows in by_kind.items() if rows]


def gallery(study: Study, model: StudiedModel) -> Gallery | None:
    """The rows of a model's gallery; None where its results have no maps."""
    cells = _cells(study, model)
    if not cells:
        return None
    height, width = cells[0].image.shape[1:]
    path, whole = _path(study, model), corner(len(cells), 3, (height, width))
    shown = model.rows[model.rows["sample_id"].isin([cell.sample for cell in cells])]
    measured = {str(row["sample_id"]): row for row in shown.to_dict("records")}
    rows = []
    for number, cell in enumerate(cells):
        row = measured.get(cell.sample, {})
        alignment, cosine = (_finite(row.get(name)) for name in (study.benchmark.alignment, "alignment_cosine"))
        label = None if "label" not in row else int(row["label"])
        alts = (
            f"Image {cell.sample}" + ("" if label is None else f" of class {label}"),
            f"Bayes target at image {cell.sample}",
            f"Gradient of {model.card.id} at image {cell.sample}"
            + ("" if cosine is None else f"; its cosine with the Bayes target is {cosine:.2f}"),
        )
        image, target, gradient = (
            Tile(path, *corner(number, column, (height, width)), width, height, whole, alt)
            for column, alt in enumerate(alts)
        )
        has_target, has_gradient = cell.target is not None, cell.gradient is not None
        tiles = image, target if has_target else None, gradient if has_gradient else None
        rows.append(Row(cell.kind, cell.sample, label, alignment, cosine, *tiles))
    return Gallery(model.card.id, "" if study.benchmark.no_target else measure(study.benchmark), tuple(rows))


def measure(benchmark: Benchmark) -> str:
    """Short name of the column that ranks: cosine, 1 − LPIPS, or the paper's."""
    name = benchmark.alignment
    header = next((column.header for column in columns.BOARD_COLUMNS if column.name == name), "")
    return header or name.replace("_", " ")


def files(studies: Sequence[Study]) -> Iterator[tuple[str, bytes]]:
    """The pictures of all models that have maps, with their paths below the site's folder."""
    for study in studies:
        for model in study.models:
            if cells := _cells(study, model):
                yield _path(study, model), grid([(c.image, c.target, c.gradient) for c in cells], images=1)


class _Cells(NamedTuple):
    """Image, target and gradient of one row, shape (c, h, w) each; None where there is none."""

    kind: str
    sample: str
    image: Values
    target: Values | None
    gradient: Values | None


def _cells(study: Study, model: StudiedModel) -> list[_Cells]:
    """Gallery and first images; of these the Bayes control's gradients are the targets."""
    cells = [] if model.gallery is None or study.benchmark.no_target else _cells_of(model.gallery, {})
    if model.thumbnails is not None:
        bayes = study.named(study.benchmark.bayes)
        targets = (
            {}
            if bayes is None or bayes.thumbnails is None
            else _by_sample(bayes.thumbnails, bayes.thumbnails.gradients)
        )
        cells += _cells_of(model.thumbnails, targets)
    return [cell for cell in cells if cell.image.shape == cells[0].image.shape]


def _cells_of(thumbnails: Thumbnails, targets: dict[str, Values]) -> list[_Cells]:
    if thumbnails.targets is not None:
        targets = targets | _by_sample(thumbnails, thumbnails.targets)
    return [
        _Cells(
            kind=thumbnails.kinds[number],
            sample=sample,
            image=thumbnails.images[number],
            target=targets.get(sample),
            gradient=gradient if np.isfinite(gradient := thumbnails.gradients[number]).all() else None,
        )
        for number, sample in enumerate(thumbnails.sample_ids)
    ]


def _by_sample(thumbnails: Thumbnails, values: Values) -> dict[str, Values]:
    return dict(zip(thumbnails.sample_ids, values, strict=True))


def _path(study: Study, model: StudiedModel) -> str:
    return f"images/{study.benchmark.label}/{model.card.id}.png"


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


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
                colours = (_palette_numbers if channels == 1 else _colours)(values, column < images)
                canvas[y : y + height, x : x + width] = colours
    picture = Image.fromarray(canvas)
    if channels == 1:
        picture.putpalette(PALETTE.tobytes(), "RGBA")
    png = io.BytesIO()
    picture.save(png, "PNG", optimize=True)  # holds no time, no software's name
    return png.getvalue()


def _palette_numbers(values: Values, is_image: bool) -> Pixels:
    """Numbers of colours, shape (h, w): an image in [0, 1] in greys, a map in [-1, 1] from blue to red."""
    scaled = 128 + 127 * values[0].clip(0, 1) if is_image else 64 + 63 * values[0].clip(-1, 1)
    numbers: Pixels = np.rint(scaled).astype(np.uint8)
    return numbers


def _colours(values: Values, is_image: bool) -> Pixels:
    """Red, green, blue and opacity, shape (h, w, 4), of an image in [0, 1] or a map in [-1, 1], whose zero is grey."""
    scaled = values.clip(0, 1) if is_image else (values.clip(-1, 1) + 1) / 2
    opaque = np.ones_like(scaled[:1])
    colours: Pixels = np.rint(255 * np.concatenate([scaled, opaque]).transpose(1, 2, 0)).astype(np.uint8)
    return colours


def _palette() -> Pixels:
    """Colours by number: 0 is transparent, 1 to 127 go from blue (-1) through nearly white to red (1), then greys."""
    maps = 255 * mpl.colormaps["RdBu_r"].resampled(127)(np.arange(127))
    greys = np.repeat([[1, 1, 1, 0]], 128, axis=0) * np.linspace(0, 255, 128)[:, None] + [0, 0, 0, 255]
    return np.rint(np.concatenate([np.zeros((1, 4)), maps, greys])).astype(np.uint8)


PALETTE = _palette()
"""Of pictures of grey images, shape (256, 4); of maps the colours are those of the figures."""
