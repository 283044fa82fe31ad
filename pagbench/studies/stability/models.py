"""All models of a results folder under all settings, and the report of them."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from rich.progress import Progress

from pagbench.benchmarks import Benchmark
from pagbench.running import session as measuring
from pagbench.running.interrupts import CancelToken, listening
from pagbench.studies.stability import choices as known
from pagbench.studies.stability import published, ranking
from pagbench.studies.stability.preparing import Prepared
from pagbench.studies.stability.published import Published
from pagbench.studies.stability.replicates import Measured
from pagbench.studies.stability.report import ListedModel, Report
from pagbench.studies.stability.tables import Tables
from pagbench.studies.stability.ways import Choice, Response, Setting

IMAGES = 250
_VERSIONS = ("pagbench", "torch", "numpy", "scipy")


def run(
    benchmark: Benchmark,
    folder: Path,
    *,
    images: int = IMAGES,
    device: torch.device,
    progress: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Report:
    """Ranks the models of a results folder anew while one choice of the benchmark moves at a time.

    What is measured stays in the cache folder: a run that was killed goes on.

    Args:
        benchmark: the definition.
        folder: results of its models.
        images: the first so many in the cycle of partners; of responses at most `choices.RESPONSES`.
        device: where to compute.
        progress: show a progress bar.
        tell: called with a line for each model or setting that is left out.

    Raises:
        CardError: the benchmark ranks by the paper's protocol.
        ResultsError: no results, or fewer than two ranked models that can be measured here.
        Stopped: SIGINT or SIGTERM came; what is finished is kept.
    """
    choices = known.of(benchmark)
    found = published.read(folder, benchmark)
    published.check_enough(found, benchmark)
    prepared = Prepared(benchmark, min(images, len(benchmark.samples)), device)
    with measuring.progress_bar(progress) as bar, listening(CancelToken()) as stop:
        possible, left_out = _prepared(prepared, choices, bar, stop)
        tables, lost = Tables(prepared, possible, found, bar, stop).measured()
    left_out += lost
    for line in left_out:
        tell(f"left out: {line}")
    there = [model for model in found if model.name in tables]
    published.check_enough(there, benchmark)
    return _report(benchmark, possible, there, tables, left_out, len(prepared.ids))


def _prepared(
    prepared: Prepared, choices: Sequence[Choice], bar: Progress, stop: CancelToken
) -> tuple[list[Choice], list[str]]:
    settings = sum(len(choice.settings) for choice in choices)
    task = bar.add_task("targets", total=settings * len(prepared.ids))

    def advance(name: str, images: int) -> None:
        bar.update(task, description=f"targets: {name}", advance=images)
        stop.check()

    found = prepared.possible(choices, advance)
    bar.update(task, completed=settings * len(prepared.ids), description="targets")
    return found


def _report(
    benchmark: Benchmark,
    choices: Sequence[Choice],
    models: Sequence[Published],
    tables: Mapping[str, pd.DataFrame],
    left_out: Sequence[str],
    images: int,
) -> Report:
    """Ranked models first, as `published.read` has them."""
    measured = Measured(
        benchmark,
        tuple(model.name for model in models if model.ranked),
        tuple(model.name for model in models if not model.ranked),
        {model.name: model.family for model in models},
        tables,
        {model.name: model.rows for model in models},
    )
    own_steps = _own_steps(choices)
    return Report(
        benchmark=benchmark.label,
        definition=benchmark.digest(),
        images=images,
        responses=min(images, known.RESPONSES),
        models=tuple(ListedModel(id=e.name, family=e.family, ranked=e.ranked) for e in models),
        choices=tuple(ranking.moved(choice, measured, own_steps) for choice in choices),
        left_out=tuple(left_out),
        versions={name: version(name) for name in _VERSIONS},
    )


def _own_steps(choices: Sequence[Choice]) -> tuple[Choice, Setting] | None:
    """Where the tables have the published responses."""
    return next(((choice, choice.published) for choice in choices if isinstance(choice.published.way, Response)), None)
