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
    row, in columns of their own.

    Args:
        rows: texts, as many in each; the first row may be headings.
    """
    printed = [[printable(part) for part in row] for row in rows]
    return "\n".join(line for lines in _blocks(printed, terminal_width()) for line in lines)


def _blocks(rows: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """The lines of each row."""
    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    beside = len(widths)
    while width is not None and beside > 1 and not _fits(rows, widths[:beside], width):
        beside -= 1
    blocks = [_lines(row[:beside], widths, width) for row in rows]
    if width is not None and beside < len(widths):
        for lines, below in zip(blocks, _blocks([row[beside:] for row in rows], width - len(_BELOW)), strict=True):
            lines += [_BELOW + line for line in below if line]
    return blocks


def _fits(rows: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> bool:
    """Whether these columns fit, the last of them wrapped if need be."""
    *before, last = widths
    room = width - sum(before) - len(_GAP) * len(before)
    longest = max((cell_len(word) for row in rows for word in row[len(before)].split()), default=0)
    return room >= min(last, max(longest, _LEAST_ROOM))


def _lines(row: Sequence[str], widths: Sequence[int], width: int | None) -> list[str]:
    """The lines of a row whose texts stand beside each other."""
    *before, last = row
    start = "".join(part + " " * (size - cell_len(part)) + _GAP for part, size in zip(before, widths, strict=False))
    if width is None:
        return [(start + last).rstrip()]
    first, *others = wrapped(last, width - cell_len(start)) or [""]
    return [(start + first).rstrip(), *(" " * cell_len(start) + line for line in others)]
