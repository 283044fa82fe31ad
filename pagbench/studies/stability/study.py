"""The study: all models of a results folder under all levels, and the report of them."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError
from pagbench.running.interrupts import CancelToken, listening
from pagbench.running.progress import progress_bar
from pagbench.storage import global_state
from pagbench.studies.stability import ranking, replicates
from pagbench.studies.stability.blocks import Blocks
from pagbench.studies.stability.factors import RESPONSES, Factor, Response, benchmark_factors
from pagbench.studies.stability.measuring import measure_all
from pagbench.studies.stability.replicates import Measured
from pagbench.studies.stability.report import ListedModel, Report

IMAGES = 250
_VERSIONS = ("pagbench", "torch", "numpy", "scipy")


@global_state.known()
def run(
    benchmark: Benchmark,
    folder: Path,
    *,
    images: int = IMAGES,
    device: torch.device,
    progress: bool = False,
    on_warning: Callable[[str], object] = lambda line: None,
) -> Report:
    """Ranks the models of a results folder anew while one factor of the benchmark moves at a time.

    What is measured stays in the cache folder: a run that was killed goes on.

    Args:
        benchmark: the definition.
        folder: results of its models.
        images: the first so many in the cycle of partners; of responses at most `factors.RESPONSES`.
        device: where to compute.
        progress: show a progress bar.
        on_warning: called with a line for each model or level that is left out.

    Raises:
        CardError: the benchmark ranks by the paper's protocol, or is of a second edition.
        ResultsError: the benchmark ranks nobody, no results, or fewer than two ranked models that can be measured here.
        Stopped: SIGINT or SIGTERM came; what is finished is kept.
    """
    if benchmark.no_target:
        raise ResultsError(f"{benchmark.label} has no ranking to try: {benchmark.no_target}")
    factors = benchmark_factors(benchmark)
    published = replicates.published_models(folder, benchmark, on_warning)
    replicates.check_enough(published, benchmark)
    blocks = Blocks(benchmark, min(images, len(benchmark.samples)), device)
    count = len(blocks.ids)
    with progress_bar(progress) as bar, listening(CancelToken()) as stop:
        total = count * sum(len(factor.levels) for factor in factors)
        task = bar.add_task("targets", total=total)

        def advance(name: str, done: int) -> None:
            bar.update(task, description=f"targets: {name}", advance=done)
            stop.check()

        possible, left_out = blocks.computable(factors, advance)
        bar.update(task, completed=total, description="targets")
        tables, failures = measure_all(blocks, possible, published, bar, stop)
    left_out += failures
    for line in left_out:
        on_warning(f"left out: {line}")
    models = tuple(model for model in published if model.name in tables)
    replicates.check_enough(models, benchmark)
    return _report(Measured(benchmark, models, tables), possible, left_out, count)


def _report(measured: Measured, factors: Sequence[Factor], left_out: Sequence[str], images: int) -> Report:
    published = ((factor, factor.published) for factor in factors)
    own_steps = next((pair for pair in published if isinstance(pair[1].variant, Response)), None)
    return Report(
        benchmark=measured.benchmark.label,
        definition=measured.benchmark.digest(),
        images=images,
        responses=min(images, RESPONSES),
        models=tuple(ListedModel(id=m.name, family=m.family, ranked=m.ranked) for m in measured.models),
        factors=tuple(ranking.factor_outcomes(factor, measured, own_steps) for factor in factors),
        left_out=tuple(left_out),
        versions={name: version(name) for name in _VERSIONS},
    )
