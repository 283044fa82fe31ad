"""A path: one architecture trained with growing regularisation, over several seeds, and then measured."""

import math
import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pagbench.errors import PagbenchError, TrainingError, first_line
from pagbench.training import Plan, train_entrant

Advance = Callable[[str, float], None]
"""Called with a plan's name and the share of it, in [0, 1], that is trained."""

_DIGITS = 3
_POLL_SECONDS = 0.2


def strengths(text: str) -> tuple[float, ...]:
    """Strengths from `A:B:N`, N of them from A to B evenly in the logarithm, or from a list `A,B,C`.

    >>> strengths("1e-4:10:6")
    (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
    >>> strengths("0.4,1")
    (0.4, 1.0)

    Raises:
        TrainingError: neither, or not above 0.
    """
    try:
        if ":" in text:
            first, last, count = text.split(":")
            low, high, n = float(first), float(last), int(count)
            if n < 2:
                raise ValueError
            found = [low * (high / low) ** (index / (n - 1)) for index in range(n)]
        else:
            found = [float(part) for part in text.split(",")]
        if not all(0 < value < math.inf for value in found):
            raise ValueError
    except (ValueError, ZeroDivisionError, OverflowError):
        raise TrainingError(
            f"strengths {text!r}; expected A:B:N (N at least 2, spaced evenly in the logarithm) or A,B,C, all above 0"
        ) from None
    return tuple(dict.fromkeys(float(f"{value:.{_DIGITS}g}") for value in found))


def train_all(
    plans: Sequence[Plan],
    output: Path,
    *,
    jobs: int = 1,
    device: str = "cpu",
    advance: Advance = lambda name, share: None,
) -> list[Path]:
    """Trains every plan that is not finished yet, several at a time, and returns the cards in the plans' order.

    A plan that fails does not stop the others. A plan that was killed goes on from its checkpoint.

    Args:
        plans: what to train.
        output: folder for cards and weights.
        jobs: networks at a time, each in a process of its own with its share of the cores.
        device: cpu, cuda, mps or a numbered one, for all of them.
        advance: told about progress.

    Raises:
        TrainingError: some plans failed; one line each. The finished ones are kept.
    """
    if not 1 <= jobs <= (os.cpu_count() or 1) * 4:
        raise TrainingError(f"jobs {jobs} is out of range; expected 1 to {(os.cpu_count() or 1) * 4}")
    failures: list[str] = []
    cards: list[Path] = []
    results = (
        _here(plans, output, device, advance) if jobs == 1 else _side_by_side(plans, output, jobs, device, advance)
    )
    for plan, result in results:
        if isinstance(result, Path):
            cards.append(result)
        else:
            failures.append(f"{plan.name}: {result}")
    if failures:
        raise TrainingError("\n".join(failures))
    return cards


def _attempt(plan: Plan, output: Path, device: str, advance: Advance) -> Path | str:
    """The card, or one line that says why there is none."""

    def report(done: int, total: int, loss: float) -> None:
        advance(plan.name, done / total)

    try:
        return train_entrant(plan, output=output, device=torch.device(device), on_step=report)
    except PagbenchError as error:
        return str(error)
    except (RuntimeError, OSError, MemoryError) as error:
        return f"training failed ({first_line(error)}); finished networks are kept"
    finally:
        advance(plan.name, 1.0)


Outcome = tuple[Plan, Path | str]


def _here(plans: Sequence[Plan], output: Path, device: str, advance: Advance) -> Iterator[Outcome]:
    for plan in plans:
        yield plan, _attempt(plan, output, device, advance)


_reports: Any = None


def _start_worker(reports: Any, threads: int) -> None:
    global _reports  # noqa: PLW0603 (a worker process has one parent)
    _reports = reports
    torch.set_num_threads(threads)  # more threads than cores would spin against each other


def _in_worker(plan: Plan, output: Path, device: str) -> Path | str:
    return _attempt(plan, output, device, lambda name, share: _reports.put((name, share)))


@contextmanager
def _workers(jobs: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    reports = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, context, _start_worker, (reports, threads))
    try:
        yield pool, reports
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _side_by_side(plans: Sequence[Plan], output: Path, jobs: int, device: str, advance: Advance) -> Iterator[Outcome]:
    with _workers(jobs) as (pool, reports):
        futures = [pool.submit(_in_worker, plan, output, device) for plan in plans]
        pending: set[Future[Path | str]] = set(futures)
        while pending:
            _, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            _drain(reports, advance)
        for plan, future in zip(plans, futures, strict=True):
            yield plan, _outcome(future)


def _outcome(future: "Future[Path | str]") -> Path | str:
    try:
        return future.result()
    except Exception as error:  # a worker that was killed, for want of memory above all
        return f"its process ended ({first_line(error)}); lower --jobs, and start again to go on from its checkpoint"


def _drain(reports: Any, advance: Advance) -> None:
    while True:
        try:
            advance(*reports.get_nowait())
        except queue.Empty:
            return
