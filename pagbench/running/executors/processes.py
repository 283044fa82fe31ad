"""Units side by side in processes of this machine: whichever crashes, hangs or leaks costs nothing but time."""

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import torch

from pagbench import results
from pagbench.running.executors.contract import Advance, Outcome, Packed, attempt, pack
from pagbench.running.executors.shares import unit_size
from pagbench.running.interrupts import CancelToken
from pagbench.running.units import Plan, Unit, Worker
from pagbench.running.workers import Broke, Died, Finished, Pool, Progress, Send

_TRIES = 2
"""Deaths without a finished batch between them, after which a unit is given up; a hang is not tried again."""

_MEMORY_SHARE = 0.8
"""Of the machine's memory, that all workers may take together."""

_FULL = 76
"""Exit code of a worker that has taken more than its share of memory."""

_ENDED = 1
"""Exit code of a worker whose call did not come back in time; also of others, which die sooner."""

_GRACE = (1.5, 5.0)
"""A call that never comes back to Python is ended after so many times the timeout, and so many seconds."""


class ProcessExecutor:
    """Workers on this machine, each with its share of the cores, of the memory, and a GPU where there are several.

    Args:
        jobs: workers at a time.
    """

    needs_shared_storage = True

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def unit_size(self, images: int, models: int) -> int:
        """See `Executor`."""
        return unit_size(images, models, self._jobs)

    def run(
        self, plan: Plan, units: Sequence[Unit], stop: CancelToken, advance: Advance
    ) -> Iterator[tuple[Unit, Outcome]]:
        """See `Executor`. The unit of a worker that dies goes on with another, as long as batches get finished."""
        deaths: dict[Packed, list[int]] = {}
        heard: dict[Packed, float] = {}
        given = dict(zip(pack(units), units, strict=True))
        with Pool(_beginning(plan, self._jobs), self._jobs) as pool:
            for packed in given:
                pool.submit(packed)
            for packed, event in pool.events(lambda: _pass_on(stop, pool)):
                unit = given[packed]
                if isinstance(event, Progress):
                    heard[packed] = time.monotonic()
                    advance(unit, event.message or 0)
                    continue
                if isinstance(event, Finished):
                    outcome = event.result
                elif isinstance(event, Broke):
                    outcome = Outcome(f"{unit.name}: fails in a worker ({event.message}); finished batches are kept")
                else:
                    silent = time.monotonic() - heard[packed] if packed in heard else None
                    hung = event.code == _ENDED and plan.timeout is not None and (silent or 0) >= plan.timeout
                    if not hung and not stop.asked and _again(plan, unit, deaths.setdefault(packed, [])):
                        pool.submit(packed)
                        continue
                    cause = _cause(event, plan, hung=hung, begun=silent is not None)
                    outcome = Outcome(f"{unit.name}: {cause}; finished batches are kept")
                if outcome.stopped or stop.asked:
                    continue
                yield unit, outcome
                if outcome.failure:  # the model's other units would fail like this one
                    siblings = pool.drop(lambda task, failed=packed: _siblings(task, failed))  # type: ignore[misc]
                    yield from ((given[task], outcome) for task in siblings)
        stop.check()


def _pass_on(stop: CancelToken, pool: Pool) -> None:
    """Asks workers to stop after their batch, once."""
    if stop.asked and not stop.passed_on:
        stop.passed_on = True
        pool.drop()
        pool.signal(signal.SIGTERM)


def _siblings(a: Packed, b: Packed) -> bool:
    return (a.request, a.measure) == (b.request, b.measure)


def _again(plan: Plan, unit: Unit, before: list[int]) -> bool:
    """Whether another worker goes on with the unit of a dead one: as long as something was finished since the last."""
    parts = len(results.store_of(plan.folder, plan.benchmark, unit.request.card.id, unit.measure).shards())
    before.append(parts)
    return before.count(parts) < _TRIES


def _cause(death: Died, plan: Plan, *, hung: bool, begun: bool) -> str:
    if death.code == _FULL:
        return "takes more memory for a batch than its worker may (lower --batch-size, or J of --executor local:J)"
    if hung:
        return f"did not come back in {plan.timeout:g} s and was ended (give it longer by --timeout)"
    if not begun:
        return (
            f'its workers cannot start (code {death.code}); a script needs `if __name__ == "__main__":` around its run'
        )
    reason = signal.Signals(-death.code).name if death.code < 0 else f"code {death.code}"
    return f"its worker died {_TRIES} times without finishing a batch ({reason}; perhaps for want of memory)"


def _beginning(plan: Plan, jobs: int) -> Callable[[int, Send], Callable[[Packed], Outcome]]:
    """What each worker begins with; only this module's own names go into it."""
    factor, seconds = _GRACE
    timeout = None if plan.timeout is None else factor * plan.timeout + seconds
    memory = int(_MEMORY_SHARE * psutil.virtual_memory().total / jobs)  # beyond what PyTorch itself takes

    def begin(number: int, send: Send) -> Callable[[Packed], Outcome]:
        return _begun(plan, number, send, timeout, memory)

    return begin


def _begun(plan: Plan, number: int, send: Send, timeout: float | None, memory: int) -> Callable[[Packed], Outcome]:
    _take_gpu(number)
    stop = CancelToken()
    told: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "asked", signal.SIGTERM))
    worker, myself = Worker(plan, stop, told.append), psutil.Process()
    most = myself.memory_info().rss + memory
    silent = Path(os.devnull).open("w")  # noqa: SIM115 (faulthandler keeps it)

    def watch() -> None:
        if timeout is not None:
            faulthandler.dump_traceback_later(timeout, exit=True, file=silent)

    def advance(samples: int) -> None:
        send(samples)
        watch()
        if myself.memory_info().rss > most:
            os._exit(_FULL)  # what is finished is kept; another worker goes on with memory of its own

    def do(packed: Packed) -> Outcome:
        send(None)
        told.clear()
        watch()
        try:
            return attempt(worker, packed.unit(), advance, told)
        finally:
            faulthandler.cancel_dump_traceback_later()

    return do


def _take_gpu(number: int) -> None:
    """Lets each worker see one GPU alone, in turn: some networks keep tensors on the first that they see."""
    count = torch.cuda.device_count()
    if count > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % count]
