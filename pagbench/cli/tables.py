"""Rows of texts in columns, for commands that list something; no word is broken."""

from collections.abc import Sequence

from rich.cells import cell_len

from pagbench.cli.options import terminal_width, wrapped
from pagbench.errors import printable

_GAP = "  "
_BELOW = " " * 4
"""Before what stands below its row."""
_LEAST_ROOM = 24
"""Characters that a text needs to be wrapped beside the columns before it, rather than below them."""


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A line for each row, its texts in columns, whatever others have written there.

    Where the terminal has no room, the last column is wrapped at spaces; then columns from the right stand below their
    row.

    Args:
        rows: texts, as many in each; the first row may be headings.
    """
    width = terminal_width()
    rows = [[printable(part) for part in row] for row in rows]
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    beside = len(widths)
    while width is not None and beside > 1 and not _fits(rows, widths[:beside], width):
        beside -= 1
    return "\n".join(line for row in rows for line in _lines(row, widths[:beside], width))


def _fits(rows: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> bool:
    """Whether these columns fit, the last of them wrapped if need be."""
    *before, last = widths
    room = width - sum(before) - len(_GAP) * len(before)
    longest = max((cell_len(word) for row in rows for word in row[len(before)].split()), default=0)
    return room >= min(last, max(longest, _LEAST_ROOM))


def _lines(row: Sequence[str], widths: Sequence[int], width: int | None) -> list[str]:
    """The lines of a row: those beside each other, and those below."""
    *before, last = row[: len(widths)]
    start = "".join(part + " " * (size - cell_len(part)) + _GAP for part, size in zip(before, widths, strict=False))
    below = _GAP.join(filter(None, row[len(widths) :]))
    if width is None:
        return [(start + last).rstrip()]
    room = width - cell_len(start)
    first, *others = wrapped(last, room) or [""]
    lines = [(start + first).rstrip(), *(" " * cell_len(start) + line for line in others)]
    return [*lines, *(_BELOW + line for line in wrapped(below, width - len(_BELOW)))]
