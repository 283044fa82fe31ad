"""Units on a Ray cluster: Ray finds machines, tries again after the death of a worker or a node, and assigns GPUs."""

import logging
import os
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import cloudpickle

from pagbench.errors import ContractError, first_line, install_command
from pagbench.running.config import RunConfig, unit_size
from pagbench.running.interrupts import CancelToken
from pagbench.running.units import Outcome, Packed, Unit, UnitWorker, pack

_POLL_S = 0.5
_ANSWER_S = 5.0
_VARIABLES = (
    "PAGBENCH_CACHE", "PAGBENCH_DATA", "PAGBENCH_OFFLINE", "PAGBENCH_RUN_CODE",
    "HF_HUB_OFFLINE", "HF_HUB_CACHE", "TORCH_HOME",
)  # fmt: skip
"""Environment variables of the driver that its tasks get."""
_RETRIES = 5
"""Deaths of a worker or its node, after which a unit is given up."""

_STRAGGLER = 3.0
"""Once no unit waits, one that takes so many times the median is begun a second time on another worker."""


class RayExecutor:
    """A cluster that runs, or one that is started on this machine.

    Args:
        address: of the cluster, as `10.0.0.1:6379` or `auto`; None for the one that `RAY_ADDRESS` names, or a new one.
        gpus: share of a GPU for each unit, where the device is one.
    """

    needs_shared_storage = True

    def __init__(self, address: str | None, gpus: float) -> None:
        self._address, self._gpus = address, gpus

    def unit_size(self, images: int, models: int) -> int:
        """See `Executor`."""
        return unit_size(images, models, max(1, int(_connect(self._address).cluster_resources().get("CPU", 1))))

    def run(
        self, config: RunConfig, units: Sequence[Unit], stop: CancelToken, advance: Callable[[Unit, int], None]
    ) -> Iterator[tuple[Unit, Outcome]]:
        """See `Executor`."""
        ray = _connect(self._address)
        gpus = self._gpus if config.device.type == "cuda" else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_do)
        shared = ray.put(
            cloudpickle.dumps((config, {name: os.environ[name] for name in _VARIABLES if name in os.environ}))
        )
        packed = dict(zip(units, pack(units), strict=True))
        waiting = deque(units)
        begun: dict[Any, tuple[Unit, float]] = {}
        seconds: list[float] = []

        def begin(unit: Unit) -> Any:
            return task.remote(shared, packed[unit])

        while waiting or begun:
            if stop.received:
                for reference in begun:
                    ray.cancel(reference)  # a KeyboardInterrupt there: finished batches are kept
                stop.check()
            while waiting and len(begun) < max(1, int(ray.cluster_resources().get("CPU", 1))):
                unit = waiting.popleft()  # no more than are done at once, so that their time is that of the work
                begun[begin(unit)] = (unit, time.monotonic())
            ready, _ = ray.wait(list(begun), timeout=_POLL_S)
            for reference in [reference for reference in ready if reference in begun]:
                unit, started = begun.pop(reference)
                seconds.append(time.monotonic() - started)
                for twin in [other for other, (same, _) in begun.items() if same is unit]:
                    ray.cancel(twin)
                    del begun[twin]
                outcome = _outcome(ray, reference, unit)
                advance(unit, len(unit.ids))
                yield unit, outcome
                if outcome.failure:  # the model's other units would fail like this one
                    siblings = [u for u in waiting if u.request is unit.request and u.measure == unit.measure]
                    waiting = deque(u for u in waiting if u not in siblings)
                    yield from ((u, outcome) for u in siblings)
            if not waiting:
                begun |= _twins(begun, seconds, begin)


def _twins(begun: dict[Any, tuple[Unit, float]], seconds: list[float], begin: Any) -> dict[Any, tuple[Unit, float]]:
    """Second copies of the units that hold up the end; the first to finish counts, since both write the same rows."""
    units = [unit for unit, _ in begun.values()]
    if len(seconds) < len(units) or not units:
        return {}
    late = time.monotonic() - _STRAGGLER * statistics.median(seconds)
    slow = [unit for unit, started in begun.values() if started < late and units.count(unit) == 1]
    return {begin(unit): (unit, time.monotonic()) for unit in slow}


def _connect(address: str | None) -> Any:
    """Ray, connected to the cluster.

    Raises:
        ContractError: it is not installed, or the cluster is not there.
    """
    try:
        import ray
    except ImportError:
        raise ContractError(f"executor ray needs Ray; install it by: {install_command('ray')}") from None
    if not ray.is_initialized():
        _check_answers(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except Exception as error:
            raise ContractError(
                f"no Ray cluster at {address or 'RAY_ADDRESS'} ({first_line(error)}); start one by `ray start --head`"
            ) from None
    return ray


def _check_answers(address: str | None) -> None:
    """Connects to the head's port first, since Ray itself waits for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise ContractError(
            f"no Ray cluster at {address} ({first_line(error)}); start one by `ray start --head`"
        ) from None


def _outcome(ray: Any, reference: Any, unit: Unit) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Outcome(f"{unit.name}: fails in a worker ({first_line(error.cause)}); finished batches are kept")
    except ray.exceptions.RayError as error:
        return Outcome(f"{unit.name}: its workers died ({first_line(error)}); finished batches are kept")
    return outcome


def _do(content: bytes, packed: Packed) -> Outcome:
    """Does a unit in one of Ray's workers."""
    return _worker(content).do_packed(packed, lambda samples: None)


@lru_cache(maxsize=1)
def _worker(content: bytes) -> UnitWorker:
    """Kept by Ray's worker process from unit to unit of a run."""
    config, variables = cloudpickle.loads(content)
    os.environ.update(variables)
    return UnitWorker(config, CancelToken())
