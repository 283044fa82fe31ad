"""What all figures share: a palette that colour-blind readers can tell apart, and pictures written whole."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pagbench.errors import ResultsError, first_line

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
    return write(path, lambda place: figure.savefig(place, format=kind, dpi=dpi, metadata=metadata))


def write(path: Path, put: Callable[[Path], object]) -> Path:
    """Writes a file beside its place, then renames: nobody sees half of one.

    Raises:
        ResultsError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(temporary)
        temporary.replace(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ResultsError(f"{path}: cannot write it ({reason}); give another --output") from None
    finally:
        _forget(temporary)
    return path


def _forget(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # its folder is a file
        return
