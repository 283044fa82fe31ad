"""A table in lines of text: cells are padded, and neither cut nor broken."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len


@dataclass(frozen=True)
class TextTable:
    """Headings and cells, a line for each row.

    Attributes:
        headings: of the columns.
        rows: cells, as many as headings.
        left: columns of texts, which begin at the left; numbers end at the right.
        names: the column whose longest cells may have a line of their own.
        ends: rows that a rule follows.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[int]
    names: int
    ends: Collection[int] = ()

    def lines(self, *, gap: int = 2, wrapped: bool = False, room: int | None = None) -> list[str]:
        """The table; a heading takes several lines where it is wider than its cells and may be wrapped.

        Args:
            gap: spaces between columns.
            wrapped: whether headings may take several lines.
            room: characters of the longest name that has its row's numbers beside it: those of a longer one stand
                below it. None for no limit.
        """
        headings = [self._heading(column, wrapped=wrapped) for column in range(len(self.headings))]
        widths = self._widths(headings, room)
        headings = [self._unbroken(column, headings, widths) for column in range(len(headings))]
        depth = max(map(len, headings))
        lines = [
            self._line(cells, widths, gap)
            for cells in zip(*([""] * (depth - len(parts)) + parts for parts in headings), strict=True)
        ]
        rule = "─" * (sum(widths) + gap * (len(widths) - 1))
        lines.append(rule)
        for index, row in enumerate(self.rows):
            if room is not None and self._is_too_long(row, widths):
                lines.append(self._line(row[: self.names + 1], widths, gap))
                row = [""] * (self.names + 1) + list(row[self.names + 1 :])  # noqa: PLW2901 (its numbers)
            if any(row):
                lines.append(self._line(row, widths, gap))
            if index in self.ends:
                lines.append(rule)
        return lines

    def room(self, width: int, *, gap: int) -> int:
        """Characters that the other columns of a table with wrapped headings leave to the names; 0 or less for none."""
        widths = self._widths([self._heading(column, wrapped=True) for column in range(len(self.headings))], None)
        return width - sum(widths) + widths[self.names] - gap * (len(widths) - 1)

    def longest_name(self) -> int:
        """Characters of it."""
        return max((cell_len(row[self.names]) for row in self.rows), default=0)

    def _heading(self, column: int, *, wrapped: bool) -> list[str]:
        heading = self.headings[column]
        if not wrapped or not heading:
            return [heading]
        widest = max(map(cell_len, (*heading.split(), *(row[column] for row in self.rows))))
        return wrap(heading, widest, break_long_words=False, break_on_hyphens=False)

    def _unbroken(self, column: int, headings: Sequence[list[str]], widths: Sequence[int]) -> list[str]:
        """A broken heading in one line, where that of the column before it, of texts, leaves the room."""
        before = column - 1
        if len(headings[column]) == 1 or before not in self.left or column in self.left:
            return headings[column]
        spare = widths[before] - max(map(cell_len, headings[before]))
        fits = cell_len(self.headings[column]) <= widths[column] + spare
        return [self.headings[column]] if fits else headings[column]

    def _widths(self, headings: Sequence[Sequence[str]], room: int | None) -> list[int]:
        """Of the columns; names that are longer than their room do not count."""
        return [
            max(
                cell_len(text)
                for text in (*heading, *(row[column] for row in self.rows))
                if text in heading or room is None or column != self.names or cell_len(text) <= room
            )
            for column, heading in enumerate(headings)
        ]

    def _is_too_long(self, row: Sequence[str], widths: Sequence[int]) -> bool:
        """Whether a row's name reaches the number beside it, which ends at the right of its own column."""
        behind = self.names + 1
        beside = widths[behind] - cell_len(row[behind]) if behind < len(row) and behind not in self.left else 0
        return cell_len(row[self.names]) > widths[self.names] + beside

    def _line(self, cells: Sequence[str], widths: Sequence[int], gap: int) -> str:
        line, end = "", -gap
        for column, (cell, width) in enumerate(zip(cells, widths, strict=False)):
            end += gap + width
            start = end - (width if column in self.left else cell_len(cell))
            line += " " * (start - cell_len(line)) + cell
        return line.rstrip()
