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
    """A signal has stopped a run between two batches.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class HangError(ContractError):
    """A model takes longer for a batch than it may."""


class CancelToken:
    """Whether a signal has come.

    Attributes:
        received: number of the signal; 0 where none has come.
        forwarded: whether it was sent on to the workers of this process.
    """

    received = 0
    forwarded = False

    def check(self) -> None:
        """Called after each finished batch.

        Raises:
            Stopped: a signal has come.
        """
        if self.received:
            name = signal.Signals(self.received).name
            raise Stopped(
                self.received,
                f"stopped by {name}; finished batches are kept, and the same run goes on unless it overwrites",
            )


@contextmanager
def listening(stop: CancelToken) -> Iterator[CancelToken]:
    """Within, the first SIGINT or SIGTERM stops after the batch; a second one acts as it does elsewhere.

    Signals reach the main thread of a process only: within another thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def receive(number: int, frame: FrameType | None) -> None:
        stop.received = number
        _restore(before)

    for number in _SIGNALS:
        signal.signal(number, receive)
    try:
        yield stop
    finally:
        _restore(before)


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class BatchTimeout:
    """Time for one batch, in this process's main thread.

    It does not reach a call that never returns to Python: workers end such a process altogether
    (`pagbench.running.executors.ProcessExecutor`).

    Args:
        seconds: for each batch; None for any time.
    """

    def __init__(self, seconds: float | None) -> None:
        able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        self.seconds = seconds if able else None

    @contextmanager
    def running(self, model: str) -> Iterator[None]:
        """Within, the time runs; `restart` begins it anew.

        Raises:
            HangError: the time is over.
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
