"""The commands that load models: run, check, gradients, fetch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pagbench.cli.options import (
    RESULTS,
    ArchitectureOption,
    BatchSizeOption,
    BenchmarkOption,
    Device,
    DeviceOption,
    IdOption,
    OfflineOption,
    ResultsOption,
    warn,
)
from pagbench.errors import ContractError, PagbenchError, WeightsError, printable

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.models.registry import Request
    from pagbench.results.preflight import Preflight


def run(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Ids, card files, path.py:function, or checkpoints with --architecture; all shipped ones by default.",
        ),
    ] = None,
    benchmark: BenchmarkOption = "digits",
    measures: Annotated[
        str,
        typer.Option(
            help="Further measures of the named models, separated by commas: adversarial, pgd, confined, certified, "
            "smoothing, generation, denoising, inpainting (see docs/reference/measures.md).",
            metavar="MEASURE,...",
        ),
    ] = "",
    limit: Annotated[int | None, typer.Option(help="Only the first N samples; no rank is given then.")] = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = Device.auto,
    seed: Annotated[int | None, typer.Option(help="Of noise and permutation; the benchmark's own by default.")] = None,
    results: ResultsOption = RESULTS,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Measure again what the folder already has, and keep only that.")
    ] = False,
    executor: Annotated[
        str,
        typer.Option(
            help="Who does the work: local, this process; local:J, J others; ray or ray:ADDRESS, a Ray cluster.",
            metavar="local[:J]|ray[:ADDRESS]",
        ),
    ] = "local",
    gpus_per_task: Annotated[float, typer.Option(help="Share of a GPU that a unit asks a Ray cluster for.")] = 1.0,
    shard: Annotated[
        str | None,
        typer.Option(help="The i-th of n shares of all samples, for n runs that fill one folder.", metavar="I/N"),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a batch, after which its model is given up; the others go on.")
    ] = 4 * 3600.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where a pre-flight check of a named model is flagged.")
    ] = False,
    architecture: ArchitectureOption = None,
    id: IdOption = None,
    offline: OfflineOption = False,
) -> None:
    """Measure models on a benchmark; finished rows are kept and skipped next time."""
    from pagbench import benchmarks
    from pagbench.running import runner

    definition = benchmarks.load(benchmark)
    rows = runner.run(
        _models(models or [], architecture, id, definition),
        benchmark=definition,
        measures=[name.strip() for name in measures.split(",") if name.strip()],
        limit=limit,
        batch_size=batch_size,
        device=device.value,
        seed=seed,
        results=results,
        overwrite=overwrite,
        executor=executor,
        gpus_per_task=gpus_per_task,
        shard=shard,
        timeout=timeout,
        progress=True,
        on_warning=lambda line: warn(f"warning: {line}"),
    )
    folder, options = f"{results.rstrip('/')}/{definition.label}", f"-b {definition.label} -r {results}"
    typer.echo(f"results: {folder}  (next: pagbench leaderboard {options})")
    if strict and rows.attrs["flags"]:
        raise typer.Exit(1)


def check(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="As for run.")],
    benchmark: Annotated[
        str | None,
        typer.Option("--benchmark", "-b", help="Whose images are shown; that of the model's data set, or digits."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    device: DeviceOption = Device.auto,
    architecture: ArchitectureOption = None,
    id: IdOption = None,
    offline: OfflineOption = False,
) -> None:
    """Show the pre-flight card of models. Exits with 0 if all pass, 1 if one is flagged, 2 if one is refused."""
    from pagbench.cli import listing

    worst, ids = 0, _check_count(models, id)
    for index, name in enumerate(models):
        try:
            label, card = _examine(name, benchmark, architecture, ids[index : index + 1], batch_size, device)
        except PagbenchError as error:
            for line in str(error).splitlines():
                warn(f"error: {line}")
            worst = 2
            continue
        typer.echo(f"{name} on {label}: {listing.heading(card)}\n{listing.preflight(card)}\n")
        worst = max(worst, ("pass", "flag", "fail").index(card.verdict))
    raise typer.Exit(worst)


def gradients(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="As for run; all trained ones by default.")
    ] = None,
    benchmark: BenchmarkOption = "digits",
    samples: Annotated[int, typer.Option(min=1, help="Number of images, one row each.")] = 8,
    task: Annotated[
        str | None,
        typer.Option(
            help="Draw what is made by following the gradients instead: generation, denoising or inpainting.",
            metavar="TASK",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
    output: Annotated[Path, typer.Option(help="The PNG.")] = Path("gradients.png"),
    architecture: ArchitectureOption = None,
    id: IdOption = None,
    offline: OfflineOption = False,
) -> None:
    """Draw a grid of image, Bayes target and the models' input gradients, or of what these make."""
    from pagbench import benchmarks
    from pagbench.reports import gallery
    from pagbench.reports.figures import canvas

    definition = benchmarks.load(benchmark)
    chosen = _models(models or [], architecture, id, definition)
    figure = gallery.gradients(chosen, definition, samples, task=task, device=device.value)
    typer.echo(f"picture: {canvas.save(figure, output, dpi=canvas.SCREEN_DPI)}")


def fetch(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Card ids or card files.")] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="Also what this benchmark needs: its data and networks.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Only show the files, their size, mirrors and licence; fetch nothing.")
    ] = False,
    offline: OfflineOption = False,
) -> None:
    """Download the weights of models and what a benchmark needs, so that runs need no network."""
    from pagbench import benchmarks
    from pagbench.cli import listing

    if not models and benchmark is None:
        raise ContractError("nothing to fetch; name models, or a benchmark with --benchmark")
    definition = None if benchmark is None else benchmarks.load(benchmark)
    if list_:
        typer.echo(listing.downloads(models or [], definition))
        return
    failures = list(_fetch_models(models or []))
    if definition is not None:
        failures += _fetch_benchmark(definition)
    if failures:
        raise WeightsError("\n".join(failures))


def _check_count(names: list[str], ids: list[str] | None) -> list[str]:
    """The ids that the user gives.

    Raises:
        ContractError: they are not as many as the models, or two are the same.
    """
    given = ids or []
    if given and len(given) != len(names):
        raise ContractError(f"{len(given)} of --id for {len(names)} models; give one for each that is named, in order")
    if twice := {name for name in given if given.count(name) > 1}:
        raise ContractError(f"--id {min(twice)!r} is given twice; give each model its own")
    return given


def _models(
    names: list[str], architecture: str | None, ids: list[str] | None, benchmark: "Benchmark"
) -> "Sequence[str | Request] | dict[str, str | Request]":
    """What is to be resolved, by id where the user gives ids; says whose code will run."""
    from pagbench.models import factories, registry

    models: Sequence[str | Request] = names
    given = _check_count(names, ids)
    if architecture is None:
        for name in filter(factories.is_file, names):
            warn(f"warning: {name} runs the code of that file")
    elif not names:
        raise ContractError(
            "--architecture needs the checkpoints that it is for: pagbench run weights.pt --architecture ..."
        )
    else:
        warn(f"warning: --architecture runs the code of {architecture}")
        models = registry.from_checkpoints(names, architecture, benchmark)
    return dict(zip(given, models, strict=True)) if given else models


def _examine(
    name: str, benchmark: str | None, architecture: str | None, ids: list[str], batch_size: int, device: Device
) -> "tuple[str, Preflight]":
    """Label of the benchmark, and the model's pre-flight card on it."""
    from pagbench import benchmarks
    from pagbench.models import checks, factories, registry

    by_card = architecture is None and not factories.is_factory(name)
    chosen = benchmark or (by_card and registry.find(name).card.dataset) or "digits"
    definition = benchmarks.load(chosen)
    (request,) = registry.resolve(_models([name], architecture, ids, definition), definition)
    return definition.label, checks.examine(request, definition, device=device.choose(), batch_size=batch_size)


def _fetch_models(names: list[str]) -> Iterator[str]:
    """Fetches all it can and prints where the files are; yields what went wrong."""
    from pagbench import models
    from pagbench.storage import downloads

    for name in names:
        try:
            files = downloads.files_of(models.find(name).card)
            for file in files:
                typer.echo(f"{name}: {printable(str(downloads.get(file)))}")
            if not files:
                typer.echo(f"{name}: nothing to fetch")
        except PagbenchError as error:
            yield str(error)


def _fetch_benchmark(benchmark: "Benchmark") -> Iterator[str]:
    """The same for a benchmark: its anchors, its networks, then its data."""
    from pagbench import data
    from pagbench.storage import downloads

    yield from _fetch_models(list(benchmark.anchors))
    for file in downloads.files_of(benchmark):
        try:
            typer.echo(f"{benchmark.label}: {printable(str(downloads.get(file)))}")
        except PagbenchError as error:
            yield str(error)
    try:
        data.splits(benchmark)
        typer.echo(f"{benchmark.label}: its data are here")
    except PagbenchError as error:
        yield str(error)
