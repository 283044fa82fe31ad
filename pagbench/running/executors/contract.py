"""What an executor is, and what it says of each unit."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from pagbench.errors import PagbenchError, first_line
from pagbench.models import requests
from pagbench.running.interrupts import CancelToken, Stopped
from pagbench.running.units import Plan, Unavailable, Unit, Worker

Advance = Callable[[Unit, int], None]
"""Told of so many more finished samples of a unit."""


class Outcome(NamedTuple):
    """What became of a unit.

    Attributes:
        failure: one line where it is not done; empty where it is.
        unavailable: whether it is an anchor that nobody named and that is not to be had.
        told: lines for the user.
        stopped: the signal for which it stopped between two batches; 0 where none has come.
    """

    failure: str = ""
    unavailable: bool = False
    told: tuple[str, ...] = ()
    stopped: int = 0


class Packed(NamedTuple):
    """A unit for another process."""

    request: bytes
    measure: str | None
    ids: tuple[str, ...]

    def unit(self) -> Unit:
        """The unit again."""
        return Unit(_request(self.request), self.measure, self.ids)


@lru_cache(maxsize=1)
def _request(content: bytes) -> requests.Request:
    """The same one for all units of a model, which is loaded once."""
    found: requests.Request = pickle.loads(content)
    return found


def pack(units: Sequence[Unit]) -> list[Packed]:
    """Units for another process; each model is packed once.

    Raises:
        ContractError: a model cannot be sent.
    """
    sent = {id(unit.request): unit.request for unit in units}
    packed = {key: requests.send(request) for key, request in sent.items()}
    return [Packed(packed[id(unit.request)], unit.measure, unit.ids) for unit in units]


class Executor(Protocol):
    """Does units in any order."""

    needs_shared_storage: bool
    """Whether other processes must see the results folder."""

    def unit_size(self, images: int, models: int) -> int:
        """Samples of one unit, so that there is work for all."""
        ...

    def run(
        self, plan: Plan, units: Sequence[Unit], stop: CancelToken, advance: Advance
    ) -> Iterator[tuple[Unit, Outcome]]:
        """Does the units, and says of each what became of it.

        Args:
            plan: what they share.
            units: which.
            stop: asked between batches.
            advance: told of finished samples.

        Raises:
            Stopped: a signal has come.
        """
        ...


def attempt(worker: Worker, unit: Unit, advance: Callable[[int], None], told: list[str]) -> Outcome:
    """Does a unit, and puts into words what stands in its way."""
    try:
        worker.do(unit, advance)
    except Stopped as stopped:
        return Outcome(str(stopped), stopped=stopped.number, told=tuple(told))
    except OSError as error:
        return Outcome(f"{unit.name}: the results folder fails ({first_line(error)})", told=tuple(told))
    except PagbenchError as error:
        return Outcome(str(error), isinstance(error, Unavailable), tuple(told))
    return Outcome(told=tuple(told))
