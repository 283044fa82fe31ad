"""Executors do the units of a run: in this process, or in several on this machine. Ray's is `ray_cluster`."""

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import torch

from pagbench.errors import ContractError
from pagbench.running.config import RunConfig, unit_size
from pagbench.running.interrupts import CancelToken, Stopped
from pagbench.running.ray_cluster import RayExecutor
from pagbench.running.units import Outcome, Packed, Unit, UnitWorker, pack
from pagbench.running.workers import Died, Failed, Finished, Pool, Progress, Send, cores

Advance = Callable[[Unit, int], None]
"""Called with the number of further samples of a unit that are finished."""

_TRIES = 2
"""Deaths without a finished batch between them, after which a unit is given up; a hang is not tried again."""

_MEMORY_SHARE = 0.8
"""Of the machine's memory, that all workers may take together."""

_FULL = 76
"""Exit code of a worker that has taken more than its share of memory."""

_HUNG = 1
"""Exit code of a worker whose call did not come back in time (faulthandler's); also of others, which die sooner."""

_GRACE = (1.5, 5.0)
"""A call that never comes back to Python is ended after so many times the timeout, and so many seconds."""


class Executor(Protocol):
    """Does units in any order."""

    needs_shared_storage: bool
    """Whether other processes must see the results folder."""

    def unit_size(self, images: int, models: int) -> int:
        """Samples of one unit, so that there is work for all."""
        ...

    def run(
        self, config: RunConfig, units: Sequence[Unit], stop: CancelToken, advance: Advance
    ) -> Iterator[tuple[Unit, Outcome]]:
        """Does the units, and yields each with what became of it.

        Args:
            config: the run.
            units: of it.
            stop: checked between batches.
            advance: called with finished samples.

        Raises:
            Stopped: a signal has come.
        """
        ...


def find(name: str, *, gpus_per_task: float = 1.0) -> Executor:
    """The executor that a user names: `local`, `local:J`, `ray` or `ray:ADDRESS`.

    Args:
        name: the user's word.
        gpus_per_task: share of a GPU for each unit on a Ray cluster, where the device is one.

    Raises:
        ContractError: no such executor, or a number that is out of range.
    """
    kind, _, argument = name.partition(":")
    if not 0 < gpus_per_task <= 1024:
        raise ContractError(f"GPUs per task {gpus_per_task:g} is out of range; expected above 0, as 0.5 or 1")
    if kind == "ray":
        return RayExecutor(argument or None, gpus_per_task)
    if kind != "local":
        raise ContractError(f"executor {name!r}; expected local, local:J, ray or ray:ADDRESS")
    if not argument:
        return SerialExecutor()
    most = 4 * cores()
    if not argument.isdecimal() or not 1 <= int(argument) <= most:
        raise ContractError(
            f"executor local:{argument} has no such number of workers; expected local:1 to local:{most}"
        )
    return ProcessExecutor(int(argument))


class SerialExecutor:
    """This process, one unit after the other."""

    needs_shared_storage = False

    def unit_size(self, images: int, models: int) -> int:
        """All of a model's samples."""
        return max(1, images)

    def run(
        self, config: RunConfig, units: Sequence[Unit], stop: CancelToken, advance: Advance
    ) -> Iterator[tuple[Unit, Outcome]]:
        """See `Executor`."""
        worker = UnitWorker(config, stop)
        _ = worker.session  # without data nothing is tried
        for unit in units:
            outcome = worker.do(unit, partial(advance, unit))
            if outcome.stopped:
                raise Stopped(outcome.stopped, outcome.failure)
            yield unit, outcome


class ProcessExecutor:
    """Workers on this machine, each with its share of the cores, of the memory, and a GPU where there are several.

    A model that crashes, hangs or leaks costs the others nothing but time.

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
        self, config: RunConfig, units: Sequence[Unit], stop: CancelToken, advance: Advance
    ) -> Iterator[tuple[Unit, Outcome]]:
        """See `Executor`. Another worker goes on with the unit of one that dies, as long as batches get finished."""
        shards: dict[Packed, list[int]] = {}
        latest: dict[Packed, float] = {}
        unit_of = dict(zip(pack(units), units, strict=True))
        factor, seconds = _GRACE
        timeout = None if config.timeout is None else factor * config.timeout + seconds
        memory = int(_MEMORY_SHARE * psutil.virtual_memory().total / self._jobs)
        with Pool(partial(_begin, config, timeout, memory), self._jobs) as pool:
            for packed in unit_of:
                pool.submit(packed)
            for packed, event in pool.events(lambda: _forward(stop, pool)):
                unit = unit_of[packed]
                if isinstance(event, Progress):
                    latest[packed] = time.monotonic()
                    advance(unit, event.message)
                    continue
                if isinstance(event, Finished):
                    outcome = event.result
                elif isinstance(event, Failed):
                    outcome = Outcome(f"{unit.name}: fails in a worker ({event.message}); finished batches are kept")
                else:
                    silent = time.monotonic() - latest[packed] if packed in latest else None
                    hung = event.code == _HUNG and config.timeout is not None and (silent or 0) >= config.timeout
                    if not hung and not stop.received and _is_tried_again(config, unit, shards.setdefault(packed, [])):
                        pool.submit(packed)
                        continue
                    cause = _cause(event, config, hung=hung, begun=silent is not None)
                    outcome = Outcome(f"{unit.name}: {cause}; finished batches are kept")
                if outcome.stopped or stop.received:
                    continue
                yield unit, outcome
                if outcome.failure:  # the model's other units would fail like this one
                    siblings = pool.drop(lambda task, failed=packed: task[:2] == failed[:2])  # type: ignore[misc]
                    yield from ((unit_of[task], outcome) for task in siblings)
        stop.check()


def _forward(stop: CancelToken, pool: Pool) -> None:
    """Lets workers stop after their batch, once."""
    if stop.received and not stop.forwarded:
        stop.forwarded = True
        pool.drop()
        pool.signal(signal.SIGTERM)


def _is_tried_again(config: RunConfig, unit: Unit, before: list[int]) -> bool:
    """Whether another worker goes on with the unit of a dead one: as long as a shard was written since the last."""
    before.append(len(config.store(unit.request.card.id, unit.measure).shards()))
    return before.count(before[-1]) < _TRIES


def _cause(death: Died, config: RunConfig, *, hung: bool, begun: bool) -> str:
    if death.code == _FULL:
        return "takes more memory for a batch than its worker may (lower --batch-size, or J of --executor local:J)"
    if hung:
        return f"did not come back in {config.timeout:g} s and was ended (give it longer by --timeout)"
    if not begun:
        return (
            f'its workers cannot start (code {death.code}); a script needs `if __name__ == "__main__":` around its run'
        )
    reason = signal.Signals(-death.code).name if death.code < 0 else f"code {death.code}"
    return f"its worker died {_TRIES} times without finishing a batch ({reason}; perhaps for want of memory)"


def _begin(
    config: RunConfig, timeout: float | None, memory: int, number: int, send: Send
) -> Callable[[Packed], Outcome]:
    """What each worker begins with.

    Args:
        config: the run.
        timeout: seconds, after which a call that does not come back to Python ends its worker.
        memory: bytes that the worker may take, beyond those that PyTorch takes itself.
        number: of the worker.
        send: sends progress to the parent.
    """
    count = torch.cuda.device_count()
    if count > 1:  # each sees one GPU alone: some networks keep tensors on the first that they see
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % count]
    stop = CancelToken()
    signal.signal(signal.SIGTERM, lambda *_: setattr(stop, "received", signal.SIGTERM))
    worker, process = UnitWorker(config, stop), psutil.Process()
    most = process.memory_info().rss + memory
    devnull = Path(os.devnull).open("w")  # noqa: SIM115 (faulthandler keeps it)

    def advance(samples: int) -> None:
        send(samples)
        if timeout is not None:
            faulthandler.dump_traceback_later(timeout, exit=True, file=devnull)
        if process.memory_info().rss > most:
            os._exit(_FULL)  # finished batches are kept; another worker goes on with memory of its own

    def do(packed: Packed) -> Outcome:
        advance(0)
        try:
            return worker.do_packed(packed, advance)
        finally:
            faulthandler.cancel_dump_traceback_later()

    return do
