"""The progress of what takes long, on stderr: a bar, or lines where nothing can be drawn over."""

from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pagbench.storage.transport import can_draw


class _Lines(Progress):
    """Prints a line, without colours, where a further tenth of a task is done, with an estimate of the time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console=console, disable=True)
        self._tenths: dict[TaskID, int] = {}

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """See `Progress`."""
        super().update(task_id, **fields)
        task = next(task for task in self.tasks if task.id == task_id)
        tenth = int(10 * task.completed // task.total) if task.total else 0
        if tenth > self._tenths.get(task_id, 0):
            self._tenths[task_id] = tenth
            left = f", {timedelta(seconds=round(task.time_remaining))} left" if task.time_remaining else ""
            done = f"{int(task.completed)}/{int(task.total or 0)}"
            self.console.print(f"{task.description} {done}{left}", markup=False)


def progress_bar(enabled: bool) -> Progress:
    """A bar that counts images and estimates the time that is left; nothing where it is not enabled.

    In a notebook without ipywidgets it is a few lines: rich would warn there, and draw nothing.
    """
    console = Console(stderr=True)
    if enabled and console.is_jupyter and not can_draw(console):
        return _Lines(Console(stderr=True, force_jupyter=False, no_color=True, highlight=False))
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left:"),
        TimeRemainingColumn(), disable=not enabled, console=console,
    )  # fmt: skip
