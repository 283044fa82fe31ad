"""Stopping between two batches when a signal asks for it, and giving up on a model that hangs. No torch."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pagbench.errors import ContractError, PagbenchError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(PagbenchError):
    """A signal has asked a run to stop, and it did after the batch that it was at.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class HangError(ContractError):
    """A model that took longer than its time for a batch."""


class CancelToken:
    """Whether a signal has come.

    Attributes:
        asked: its number; 0 where none has.
        passed_on: whether the workers of this process know.
    """

    asked = 0
    passed_on = False

    def check(self) -> None:
        """Called after each finished batch.

        Raises:
            Stopped: a signal has come.
        """
        if self.asked:
            name = signal.Signals(self.asked).name
            raise Stopped(
                self.asked,
                f"stopped by {name}; finished batches are kept, and the same command goes on (without --overwrite)",
            )


@contextmanager
def listening(stop: CancelToken) -> Iterator[CancelToken]:
    """Within, the first SIGINT or SIGTERM asks to stop after the batch; a second one acts as it always does.

    Signals reach the main thread of a process only: within others nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = number
        _restore(before)

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        _restore(before)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class BatchTimeout:
    """Time for one batch; whatever runs longer in this process's main thread gets a `HangError`.

    A call that never returns to Python is not reached by it: workers end such a process altogether
    (`pagbench.running.executors.processes`).

    Args:
        seconds: for each batch; None for any time.
    """

    def __init__(self, seconds: float | None) -> None:
        able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        self.seconds = seconds if able else None

    @contextmanager
    def waiting(self, model: str) -> Iterator[None]:
        """Within, the time runs; `restart` begins it anew.

        Raises:
            HangError: it is over.
        """
        if self.seconds is None:
            yield
            return

        def give_up(number: int, frame: FrameType | None) -> None:
            raise HangError(
                f"{model}: no batch in {self.seconds:g} s, so it is given up; finished batches are kept. "
                "Give it longer by --timeout, or fewer images by --batch-size"
            )

        before = signal.signal(signal.SIGALRM, give_up)
        self.restart()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def restart(self) -> None:
        """A batch is finished."""
        if self.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, self.seconds, self.seconds)
