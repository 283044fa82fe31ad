"""What a run will take, told from a few images."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import psutil
import torch

from pagbench.errors import PagbenchError
from pagbench.models.loading import LoadedModel
from pagbench.models.registry import Request
from pagbench.running.config import RunConfig
from pagbench.running.session import Session, guarded

_IMAGES = 16
"""Images that are measured for it."""
_LONGEST_S = 30.0
"""Seconds after which no further model is timed."""


class Estimate(NamedTuple):
    """What a run takes on this machine, about.

    Attributes:
        seconds: of the whole run, loading not counted.
        memory: bytes that it takes at a time: of the GPU where it computes on one, else of this process.
        images: at a time, while memory was looked at.
        timed: models that were timed; others are taken to be like them.
    """

    seconds: float
    memory: int
    images: int
    timed: tuple[str, ...]


def estimate(requests: Sequence[Request], others: int, config: RunConfig) -> Estimate | None:
    """Measures a few images by the benchmark's own measures, and computes their targets once more.

    What is loaded and fitted once for all images is not counted: the first pass of three is left out.

    Args:
        requests: the models.
        others: further models that will be measured.
        config: the run; its samples are counted, and nothing is kept.

    Returns:
        None where no model can be measured here.
    """
    ids = config.ids[:_IMAGES]
    session = Session(replace(config, ids=ids, batch_size=len(ids)))

    def measure(model: LoadedModel) -> None:
        for _ in session.rows(model, ids):
            pass

    timed: dict[str, float] = {}
    started = time.perf_counter()
    for request in requests:
        if time.perf_counter() - started > _LONGEST_S:
            break
        try:
            model = request.load(config.benchmark, config.device)
            with guarded(request.card.id):
                _, *again = (_seconds(measure, model) for _ in range(3))
        except PagbenchError:  # the run will say why
            continue
        timed[request.card.id] = min(again) / len(ids)
    if not timed:
        return None
    targets, some = session.targets, session.splits.test.select(ids)
    with_partners = min(2 * len(config.ids), len(config.benchmark.samples))
    shared = with_partners * _seconds(targets.computation, some) / len(ids)
    mean = sum(timed.values()) / len(timed)
    models = sum(timed.get(request.card.id, mean) for request in requests) + others * mean
    return Estimate(shared + len(config.ids) * models, _memory(config.device), len(ids), tuple(timed))


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    """Of work whose values end on the CPU, so that a GPU has finished, too."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().rss)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
