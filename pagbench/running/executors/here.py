"""Units one after the other in this process."""

from collections.abc import Iterator, Sequence

from pagbench.running.executors.contract import Advance, Outcome, attempt
from pagbench.running.interrupts import CancelToken, Stopped
from pagbench.running.units import Plan, Unit, Worker


class SerialExecutor:
    """This process."""

    needs_shared_storage = False

    def unit_size(self, images: int, models: int) -> int:
        """All of a model's samples."""
        return max(1, images)

    def run(
        self, plan: Plan, units: Sequence[Unit], stop: CancelToken, advance: Advance
    ) -> Iterator[tuple[Unit, Outcome]]:
        """See `Executor`."""
        told: list[str] = []
        worker = Worker(plan, stop, told.append)
        _ = worker.session  # without data there is nothing to try
        for unit in units:
            outcome = attempt(worker, unit, lambda samples, unit=unit: advance(unit, samples), told)  # type: ignore[misc]
            told.clear()
            if outcome.stopped:
                raise Stopped(outcome.stopped, outcome.failure)
            yield unit, outcome
