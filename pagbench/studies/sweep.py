"""A path: one architecture trained with growing regularisation, over several seeds, and then measured."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from pagbench.errors import PagbenchError, TrainingError, first_line
from pagbench.running import workers
from pagbench.training import TrainingPlan, train_model

Advance = Callable[[str, float], None]
"""Called with a plan's name and the share of it, in [0, 1], that is trained."""

_DIGITS = 3
_LONGEST_PATH = 1000


def strengths(text: str) -> tuple[float, ...]:
    """Strengths from `A:B:N`, N of them from A to B evenly in the logarithm (to three digits), or a list `A,B,C`.

    >>> strengths("1e-4:10:6")
    (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
    >>> strengths("0.4,1")
    (0.4, 1.0)

    Raises:
        TrainingError: neither, not above 0, or not distinct.
    """
    try:
        chosen = _spaced(*text.split(":")) if ":" in text else [float(part) for part in text.split(",")]
        if not all(0 < value < math.inf for value in chosen):
            raise ValueError
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise TrainingError(
            f"strengths {text!r}; expected A:B:N (N from 2 to {_LONGEST_PATH}, even in the logarithm) or A,B,C; above 0"
        ) from None
    if len(set(chosen)) < len(chosen):
        raise TrainingError(f"strengths {text!r} are not distinct; take fewer, or list them as A,B,C")
    return tuple(chosen)


def _spaced(first: str, last: str, count: str) -> list[float]:
    low, high, n = float(first), float(last), int(count)
    if not 2 <= n <= _LONGEST_PATH:
        raise ValueError
    return [float(f"{low * (high / low) ** (index / (n - 1)):.{_DIGITS}g}") for index in range(n)]


class Trained(NamedTuple):
    """What came of a list of plans.

    Attributes:
        cards: of those that are trained, in the plans' order.
        failures: one line for each that is not.
    """

    cards: list[Path]
    failures: list[str]


def train_all(
    plans: Sequence[TrainingPlan],
    output: Path,
    *,
    jobs: int = 1,
    device: str = "cpu",
    advance: Advance = lambda name, share: None,
) -> Trained:
    """Trains every plan that is not finished yet, several at a time.

    A plan that fails does not stop the others. A plan that was killed goes on from its checkpoint.

    Args:
        plans: what to train.
        output: folder for cards and weights.
        jobs: models at a time, each in a process of its own with its share of the cores.
        device: cpu, cuda, mps or a numbered one, for all of them.
        advance: called with each progress.

    Raises:
        TrainingError: the number of jobs is out of range.
    """
    most = 4 * (os.cpu_count() or 1)
    if not 1 <= jobs <= most:
        raise TrainingError(f"jobs {jobs} is out of range; expected 1 to {most}")
    if jobs > 1 and len(plans) > 1:
        outcomes = dict(_side_by_side(plans, output, jobs, device, advance))
    else:
        outcomes = {plan.name: _attempt(plan, output, device, advance) for plan in plans}
    cards = [outcome for name in (plan.name for plan in plans) if isinstance(outcome := outcomes[name], Path)]
    return Trained(cards, [f"{name}: {outcome}" for name, outcome in outcomes.items() if isinstance(outcome, str)])


def _attempt(plan: TrainingPlan, output: Path, device: str, advance: Advance) -> Path | str:
    """The card, or one line that says why there is none."""

    def report(done: int, total: int, loss: float) -> None:
        advance(plan.name, min(done / total, 0.999))

    try:
        card = train_model(plan, output=output, device=torch.device(device), on_step=report)
    except PagbenchError as error:
        return str(error)
    except Exception as error:  # whatever torch raises must not cost the other models
        return f"training failed ({first_line(error)})"
    advance(plan.name, 1.0)
    return card


def _side_by_side(
    plans: Sequence[TrainingPlan], output: Path, jobs: int, device: str, advance: Advance
) -> Iterator[tuple[str, Path | str]]:
    def begin(number: int, send: workers.Send) -> Callable[[TrainingPlan], Path | str]:
        return lambda plan: _attempt(plan, output, device, lambda name, share: send(share))

    with workers.Pool(begin, jobs) as pool:
        for plan in plans:
            pool.submit(plan)
        for plan, event in pool.events():
            if isinstance(event, workers.Progress):
                advance(plan.name, event.message)
            elif isinstance(event, workers.Finished):
                yield plan.name, event.result
            elif isinstance(event, workers.Failed):
                yield plan.name, f"training failed ({event.message})"
            else:
                advice = "perhaps for want of memory; lower --jobs, start again to go on from its checkpoint"
                yield plan.name, f"its process ended with code {event.code}, {advice}"
