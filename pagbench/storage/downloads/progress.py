"""Shows a download: a bar with an estimate on a terminal, one line elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import rich
from rich import filesize
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TextColumn("left:"),
    TimeRemainingColumn(),
)


@dataclass(frozen=True)
class Display:
    """One download on the screen."""

    name: str
    bar: Progress
    task: TaskID

    def start(self, done: int, total: int | None) -> None:
        """A transfer begins, at `done` of `total` bytes where an earlier one ended."""
        self.bar.reset(self.task, completed=done, total=total, description=self.name)
        if self.bar.disable:
            size = "" if total is None else f" ({filesize.decimal(total)})"
            tell(f"fetching {self.name}{size}{f', from {filesize.decimal(done)} on' if done else ''}")

    def advance(self, count: int) -> None:
        """So many bytes arrived."""
        self.bar.advance(self.task, count)

    def wait(self, reason: str, seconds: float) -> None:
        """A transfer broke off and is tried again."""
        text = f"{self.name}: {reason}; again in {seconds:.0f} s"
        self.bar.update(self.task, description=text)
        if self.bar.disable:
            tell(text)


@contextmanager
def display(name: str, size: int | None) -> Iterator[Display]:
    """A display of one download; within another bar it has a line of its own."""
    console = rich.get_console()
    shown = console.is_terminal or console.is_jupyter
    with Progress(*_COLUMNS, console=console, transient=True, disable=not shown) as bar:
        yield Display(name, bar, bar.add_task(name, total=size))


def tell(text: str) -> None:
    """One line to the user, beside the command's output."""
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(text)
