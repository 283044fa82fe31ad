"""What all figures share: fonts, markers, and pictures written whole."""

import io
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from PIL import Image

from pagbench.errors import ResultsError
from pagbench.storage import files

GREY = "#777777"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_DPI, SCREEN_DPI = 160, 110


class NotebookFigure(Figure):
    """A figure that a notebook shows, whether or not it has loaded pyplot."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=SCREEN_DPI)
        return drawn.getvalue()


def style() -> AbstractContextManager[None]:
    """Fonts and lines of all figures, for the time of drawing."""
    return mpl.rc_context({"font.size": 8.0, "axes.linewidth": 0.6, "pdf.fonttype": 42})


def save(figure: Figure, path: Path, *, dpi: int = _DPI) -> Path:
    """Writes a picture in the format of its suffix, PNG by default; PNG and PDF are the same bytes each time.

    Raises:
        ResultsError: the disk refuses.
    """
    kind = path.suffix.removeprefix(".") or "png"
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}}.get(kind)
    with files.replacing(path, ResultsError) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)
    return path


def save_palette(figure: Figure, path: Path, *, colours: int = 64) -> Path:
    """Writes a PNG of few colours, a fourth as large: 64 do for lines and letters, 256 for grey images and maps.

    Raises:
        ResultsError: the disk refuses.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI)
    reduced = Image.open(drawn).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    with files.replacing(path, ResultsError) as temporary:
        reduced.save(temporary, format="png", optimize=True)
    return path


def plain_ticks(axis: Any, at: Sequence[float]) -> None:
    """A logarithmic axis with these numbers written out, and no others."""
    axis.set_major_locator(FixedLocator(list(at)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def spread(at: Sequence[float], least: float) -> list[float]:
    """Places near these, in the same order, none nearer to the next than `least`; they move as little as they must.

    >>> spread([0.0, 0.1, 5.0], 1.0), spread([2.0, 1.0], 0.5)
    ([-0.45, 0.55, 5.0], [2.0, 1.0])
    """
    order = sorted(range(len(at)), key=lambda index: at[index])
    blocks: list[tuple[float, int]] = []  # sums of where neighbours that touch would begin, and how many they are
    for place, index in enumerate(order):
        total, count = at[index] - place * least, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    found = dict(zip(order, (start + place * least for place, start in enumerate(starts)), strict=True))
    return [found[index] for index in range(len(at))]


def write_caption(figure: Figure, caption: str) -> None:
    """Wrapped, at the bottom."""
    text = textwrap.fill(caption, int(19 * figure.get_figwidth()))
    figure.text(0.5, 0.06 / figure.get_figheight(), text, ha="center", va="bottom", fontsize=7)
