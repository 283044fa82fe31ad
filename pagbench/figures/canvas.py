"""What all figures share: a palette that colour-blind readers can tell apart, and pictures written whole."""

from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pagbench import writing

INK, GREY = "#1a1a1a", "#777777"
FAMILY_COLOURS = (
    "#332288", "#CC6677", "#117733", "#DDAA33", "#55AADD", "#882255", "#44AA99", "#999933", "#AA4499", "#BB5522",
)  # fmt: skip
"""Paul Tol's "muted" scheme, two of its lighter colours darkened for markers."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_DPI = 160


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
    return writing.atomically(path, lambda place: figure.savefig(place, format=kind, dpi=dpi, metadata=metadata))
