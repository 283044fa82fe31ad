"""Processes that do tasks side by side; one that dies loses its task and no other. No torch.

Ours, since a model that crashes, hangs or leaks must cost no other one, and the pools of others do not see to that: in
concurrent.futures and loky the death of a worker is that of all tasks; pebble times whole tasks, while a hang shows
between two batches of one. None of them passes on what a task has done so far, numbers its workers, so that each has a
GPU, or sends them signals, so that they stop after a batch.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple

import cloudpickle

from pagbench.errors import ContractError, first_line
from pagbench.storage.cache import environment

_POLL_S = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SPINNING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that spin while they wait take the cores from other workers."""

_LOADED = ["pagbench.training", "pagbench.running.units"]
"""Modules that all workers need, loaded once by the fork server."""

Send = Callable[[Any], None]
"""Sends progress to the parent, from within a task."""

Begin = Callable[[int, Send], Callable[[Any], Any]]
"""Called once in each worker, with its number; returns the function that does the tasks."""


class Progress(NamedTuple):
    """What a task sends before it ends."""

    message: Any


class Finished(NamedTuple):
    """What a task returns."""

    result: Any


class Failed(NamedTuple):
    """A task that has raised an error.

    Attributes:
        message: one line.
    """

    message: str


Event = Progress | Finished | Failed


class Died(NamedTuple):
    """A worker has ended without finishing its task.

    Attributes:
        code: its exit code, negative for a signal.
    """

    code: int


class _Worker(NamedTuple):
    pipe: Connection
    process: BaseProcess
    number: int


class Pool:
    """Workers that are started when they are needed, and end with the pool or with their parent.

    Args:
        begin: see `Begin`; any function or closure.
        jobs: workers at a time, each with its share of the cores.
    """

    def __init__(self, begin: Begin, jobs: int) -> None:
        self._begin, self._jobs = cloudpickle.dumps(begin), jobs
        self._threads = max(1, cores() // jobs)
        self._context = _context()
        self._waiting: deque[Any] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, Any]] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.process.kill()
            worker.process.join()

    def submit(self, task: Any) -> None:
        """Queues a task, which cloudpickle must be able to send."""
        self._waiting.append(task)

    def drop(self, chosen: Callable[[Any], bool] = lambda task: True) -> list[Any]:
        """Forgets chosen tasks that no worker has begun, and returns them."""
        dropped = [task for task in self._waiting if chosen(task)]
        self._waiting = deque(task for task in self._waiting if task not in dropped)
        return dropped

    def signal(self, number: int) -> None:
        """Sends a signal to the workers that are at a task."""
        for worker, _ in self._busy.values():
            if worker.process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, number)

    def events(self, poll: Callable[[], object] = lambda: None) -> Iterator[tuple[Any, Event | Died]]:
        """What becomes of each task, until all have ended; tasks may be submitted meanwhile.

        Args:
            poll: called several times a second.
        """
        while self._waiting or self._busy:
            while self._waiting and len(self._busy) < self._jobs:
                self._assign(self._waiting.popleft())
            ended = {worker.process.sentinel: pipe for pipe, (worker, _) in self._busy.items()}
            ready = set(wait([*self._busy, *ended], timeout=_POLL_S))
            for pipe in [pipe for end, pipe in ended.items() if pipe in ready or end in ready]:
                yield self._receive(pipe)
            poll()

    def _assign(self, task: Any) -> None:
        worker = self._idle.pop() if self._idle else self._start_worker()
        with contextlib.suppress(OSError):  # it died while it was idle: its pipe is at its end
            worker.pipe.send_bytes(cloudpickle.dumps(task))
        self._busy[worker.pipe] = (worker, task)

    def _receive(self, pipe: Connection) -> tuple[Any, Event | Died]:
        worker, task = self._busy[pipe]
        try:
            if not pipe.poll():  # the worker has ended, though a child of it may keep the pipe open
                raise EOFError
            message: Event = pipe.recv()
        except (EOFError, OSError):
            del self._busy[pipe]
            worker.process.join()
            return task, Died(worker.process.exitcode or 0)
        if not isinstance(message, Progress):
            del self._busy[pipe]
            self._idle.append(worker)
        return task, message

    def _start_worker(self) -> _Worker:
        taken = {worker.number for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]}
        number = min(set(range(self._jobs)) - taken)
        ours, theirs = self._context.Pipe()
        variables = {**os.environ, "OMP_NUM_THREADS": str(self._threads), **_SPINNING}
        arguments = (theirs, self._begin, number, self._threads, variables)
        process = self._context.Process(target=_work, args=arguments, daemon=True)
        try:
            with environment(_SPINNING), _without_signals():
                process.start()
        except (OSError, EOFError) as error:
            raise ContractError(f"workers cannot be started ({first_line(error)}); use --executor local") from None
        theirs.close()  # only the worker holds its end, so that its death closes the pipe
        return _Worker(ours, process, number)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> Any:
    """How processes are started: from one that has only loaded PyTorch, since CUDA does not survive a fork."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    return context


def _work(pipe: Connection, begin: bytes, number: int, threads: int, variables: dict[str, str]) -> None:
    """Does tasks in a process of its own, until its parent closes the pipe."""
    os.environ.clear()  # the fork server keeps those of the time when it was started
    os.environ.update(variables)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the parent forwards it
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    import torch

    torch.set_num_threads(threads)

    def send(message: Any) -> None:
        try:
            pipe.send(Progress(message))
        except OSError:
            os._exit(1)  # the parent has ended

    do: Callable[[Any], Any] | None = None
    while True:
        try:
            content = pipe.recv_bytes()
        except (EOFError, OSError):
            os._exit(0)
        try:
            do = do or cloudpickle.loads(begin)(number, send)
            answer: Event = Finished(do(cloudpickle.loads(content)))
        except (Exception, SystemExit) as error:
            answer = Failed(f"{type(error).__name__}: {first_line(error)}")
        pipe.send(answer)


@contextlib.contextmanager
def _without_signals() -> Iterator[None]:
    """Within, signals wait: one that comes while the fork server starts would leave it half made."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: Any) -> None:
    """Ends this process when its parent has ended, also in the middle of a call."""
    wait([parent.sentinel])
    os._exit(1)
