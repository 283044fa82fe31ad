"""Claims of theory beside what experiments measure: how far apart they are, and whether that is near enough."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pagbench.errors import PredictionError

SOURCE = "After: Srinivas, Bordt & Lakkaraju 2023, arXiv 2305.19101, in our own words and numbering."
HEADS = ("claim", "formula", "source", "largest deviation", "tolerance", "verdict")


class Claim(NamedTuple):
    """A claim, and the largest deviation of an experiment from its formula.

    Attributes:
        statement: what is claimed, short enough for a caption.
        formula: what is predicted, in plain text.
        source: who derived it; "after" where the words are ours.
        deviation: the largest, 0 or more.
        unit: what the deviation is measured in.
        tolerance: the largest that is expected, of that unit.
        control: whether the formula says that the claim does *not* hold here, and by how much.
    """

    statement: str
    formula: str
    source: str
    deviation: float
    unit: str
    tolerance: float
    control: bool = False

    @property
    def agrees(self) -> bool:
        """Whether the experiment agrees with the formula; a deviation that is not a number does not."""
        return self.deviation <= self.tolerance

    @property
    def verdict(self) -> str:
        """Whether the claim holds, and for a control whether it fails as predicted."""
        if not self.agrees:
            return "PREDICTION FAILED"
        return "does not hold, as predicted" if self.control else "holds"

    def cells(self) -> tuple[str, ...]:
        """The row of a table, in the order of `HEADS`."""
        deviation = f"{number(self.deviation)} {self.unit}"
        return self.statement, self.formula, self.source, deviation, number(self.tolerance), self.verdict

    def sentence(self) -> str:
        """The same for the caption of a figure."""
        statement, formula, source, deviation, tolerance, verdict = self.cells()
        return f"{statement}: {verdict}. {formula} ({source}); largest deviation {deviation}, tolerance {tolerance}."


def number(value: float) -> str:
    """Two digits.

    >>> number(0.0312), number(3.2e-17), number(1e-10), number(0.0), number(4.0)
    ('0.031', '3.2e-17', '1.0e-10', '0', '4')
    """
    return f"{value:.2g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"


def require(claims: Iterable[Claim]) -> None:
    """Passes where all predictions hold.

    Raises:
        PredictionError: one does not.
    """
    listed = list(claims)
    failed = [claim for claim in listed if not claim.agrees]
    if failed:
        first = failed[0]
        raise PredictionError(
            f"{len(failed)} of {len(listed)} predictions failed, as {first.statement!r}: deviation "
            f"{number(first.deviation)} {first.unit}, expected {number(first.tolerance)} at the most; see the figures"
        )


def to_table(claims: Sequence[Claim], width: int) -> str:
    """For the terminal, wrapped to its width."""
    table = Table(box=box.HORIZONTALS, show_lines=True, show_edge=False, padding=0)
    for head in HEADS:
        table.add_column(head, overflow="fold", min_width=7)  # of a number
    for claim in claims:
        table.add_row(*map(Text, claim.cells()))
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
        console.print(Text(SOURCE))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
