"""The commands that load models: run, check, gradients, fetch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pagbench.cli import leaderboard
from pagbench.cli.options import (
    RESULTS,
    AgainstOption,
    ArchitectureOption,
    BatchSizeOption,
    BenchmarkOption,
    Device,
    DeviceOption,
    IdOption,
    OfflineOption,
    ResultsOption,
    terminal_width,
    warn,
    warn_of,
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
            help="Ids, their ends, or patterns, as 'robustbench/cifar10/L2/*'; card files, path.py:function, or "
            "checkpoints with --architecture; all shipped ones by default.",
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
    limit: Annotated[int | None, typer.Option(help="Only the first N samples; models then get no rank.")] = None,
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
            help="Where to run: local, this process; local:J, J workers; ray or ray:ADDRESS, a Ray cluster.",
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
    against: AgainstOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Measure nothing: say all that is missing, and about how long the run takes. Exits with 2 where "
            "something is missing; opens no socket.",
        ),
    ] = False,
    architecture: ArchitectureOption = None,
    id: IdOption = None,
    offline: OfflineOption = False,
) -> None:
    """Measure models on a benchmark; finished rows are kept and skipped next time.

    Published rows of the benchmark's anchors are taken where they are here; name an anchor to measure it.
    """
    from pagbench import benchmarks, columns
    from pagbench import results as stored
    from pagbench.models import registry

    definition = benchmarks.load(benchmark)
    optional = columns.choose_optional(name.strip() for name in measures.split(",") if name.strip())
    published = None if against is None else stored.published_folder(against, definition)
    requests = registry.resolve(_models(models or [], architecture, id, definition), definition)
    from pagbench.running import runner  # which loads PyTorch: a wrong name is told before

    if dry_run:
        from pagbench.cli import dry_run as dry
        from pagbench.running.config import RunConfig

        config = RunConfig(
            benchmark=definition,
            ids=definition.samples[:limit],
            device=device.choose(),
            seed=definition.seed if seed is None else seed,
            published=published or stored.PUBLISHED,
        )
        raise typer.Exit(0 if dry.show(requests, config, models or ()) else 2)
    rows = runner.run(
        requests,
        benchmark=definition,
        measures=optional,
        published=published,
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
    again = leaderboard.command(definition.label, results, against)
    if published is not None:
        from pagbench import ranking
        from pagbench.ranking import render

        board = ranking.leaderboard(rows, benchmark=definition, against=published, on_warning=warn_of)
        typer.echo(render.to_table(board, definition, terminal_width(), command=again), nl=False)
    for line in _closing(rows.attrs["published"], definition, results, limit, again):
        typer.echo(line)
    if strict and rows.attrs["flags"]:
        raise typer.Exit(1)


def _closing(
    published: "Sequence[str]", benchmark: "Benchmark", results: str, limit: int | None, next_: str
) -> Iterator[str]:
    """What to know of a run that is over, and the command to go on with."""
    if published:
        yield f"anchors: published rows of {', '.join(published)}"
    partial = limit is not None and limit < len(benchmark.samples)
    if partial:
        yield (
            f"no rank: {limit} of {len(benchmark.samples)} images were measured; run again without --limit for one, "
            "these rows are kept"
        )
    yield f"results: {results.rstrip('/')}/{benchmark.label}  (next: {next_})"


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
    from pagbench import benchmarks
    from pagbench.cli import listing
    from pagbench.models import registry

    dataset = None if benchmark is None else benchmarks.load(benchmark).data_name
    if architecture is None:
        models = [name for given in models for name in registry.expand(given, dataset)]
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
    from pagbench.cli import downloads
    from pagbench.models import registry

    if not models and benchmark is None:
        raise ContractError("nothing to fetch; name models, or a benchmark with --benchmark")
    definition = None if benchmark is None else benchmarks.load(benchmark)
    dataset = None if definition is None else definition.data_name
    named = [name for given in models or [] for name in registry.expand(given, dataset)]
    if list_:
        typer.echo(downloads.listed(named, definition))
        return
    failures = list(_fetch_models(named))
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

    if architecture is None and ids:
        names = [name for given in names for name in registry.expand(given, benchmark.data_name)]
    models: Sequence[str | Request] = names
    given = _check_count(names, ids)
    if architecture is None:
        for name in (name for name in names if factories.is_file(name) and factories.local_file(name).path.exists()):
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
