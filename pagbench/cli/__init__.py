"""The command line: parse, call one library function, print."""

import enum
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from pagbench.cli import (
    doctor as cli_doctor,
)
from pagbench.cli import (
    fetch as cli_fetching,
)
from pagbench.cli import (
    sensitivity as cli_sensitivity,
)
from pagbench.cli import (
    site as cli_site,
)
from pagbench.cli import (
    submit as cli_submit,
)
from pagbench.cli import (
    tangents as cli_tangents,
)
from pagbench.cli import (
    theory as cli_theory,
)
from pagbench.cli import (
    training as cli_training,
)
from pagbench.cli import (
    verify as cli_verify,
)
from pagbench.cli.options import BatchSizeOption, BenchmarkOption, Device, DeviceOption, OfflineOption, ResultsOption
from pagbench.errors import ContractError, PagbenchError, ResultsError, UnknownNameError, printable
from pagbench.running.interrupts import Stopped
from pagbench.storage import cache

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.models.requests import Request
    from pagbench.results.preflight import Preflight


class _Group(TyperGroup):
    """Prints an error as one line and exits with 2, or as shells do after a signal."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's context is a subclass
        try:
            return super().invoke(ctx)
        except PagbenchError as error:
            for line in str(error).splitlines():
                typer.echo(f"error: {printable(line)}", err=True)
            raise typer.Exit(128 + error.number if isinstance(error, Stopped) else 2) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure how robust a classifier is on and off the data manifold, and whether its gradients mean anything.",
    epilog="Start with: pagbench run",
)


@app.callback()
def _every_command(context: typer.Context, offline: OfflineOption = False) -> None:
    context.with_resource(cache.libraries())


class Format(enum.StrEnum):
    """How to print a leaderboard."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"


class Listing(enum.StrEnum):
    """What to list."""

    models = "models"
    benchmarks = "benchmarks"
    measures = "measures"


Architecture = Annotated[
    str | None,
    typer.Option(
        help="module:function that builds the network of a checkpoint without a card. Runs that code.",
        metavar="MODULE:FUNCTION",
    ),
]
_RESULTS = "results"


@app.command(epilog="Example: pagbench run digits/standard digits/noise-0.6 --benchmark digits")
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
            "smoothing, generation, denoising, inpainting (see docs/measures.md).",
            metavar="MEASURE,...",
        ),
    ] = "",
    limit: Annotated[int | None, typer.Option(help="Only the first N samples; no rank is given then.")] = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = Device.auto,
    seed: Annotated[int | None, typer.Option(help="Of noise and permutation; the benchmark's own by default.")] = None,
    results: ResultsOption = _RESULTS,
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
    architecture: Architecture = None,
    offline: OfflineOption = False,
) -> None:
    """Measure models on a benchmark; finished rows are kept and skipped next time."""
    from pagbench import benchmarks
    from pagbench.running import runner

    definition = benchmarks.load(benchmark)
    runner.run(
        _models(models or [], architecture, definition),
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
        tell=lambda line: typer.echo(f"warning: {line}", err=True),
    )
    place, then = f"{results.rstrip('/')}/{definition.label}", f"-b {definition.name} -r {results}"
    typer.echo(f"results: {place}  (next: pagbench leaderboard {then})")


@app.command(epilog="Example: pagbench leaderboard --benchmark digits --format markdown --output table.md")
def leaderboard(
    benchmark: BenchmarkOption = "digits",
    results: ResultsOption = _RESULTS,
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column to order by; any of the JSON's.")] = None,
    format: Annotated[
        Format, typer.Option(help="table, markdown, csv or json; the last two have all columns.")
    ] = Format.table,
    output: Annotated[Path | None, typer.Option(help="File instead of the terminal.")] = None,
) -> None:
    """Rank the models of a results folder, with intervals and regimes."""
    from pagbench import benchmarks
    from pagbench.ranking import board as ranking
    from pagbench.ranking import render

    definition = benchmarks.load(benchmark)
    folder = _read_from(results, definition)
    if sort is None and format in (Format.table, Format.markdown):
        board = ranking.shown(folder, definition, render.sources(definition))
    else:
        board = ranking.leaderboard(folder, benchmark=definition, sort=sort)
    if output is None and format is Format.table:
        width = Console().width if sys.stdout.isatty() else None
        typer.echo(render.to_table(board, definition, width), nl=False)
    else:
        _put(render.FORMATS[format.value](board, definition), output)


@app.command("list", epilog="Example: pagbench list models --source robustbench --dataset cifar10 --threat L2")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    source: Annotated[str | None, typer.Option(help="Models of a third-party collection, as robustbench.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only models trained on it, as cifar10.")] = None,
    threat: Annotated[str | None, typer.Option(help="Only models for it: Linf, L2 or corruptions.")] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only models with this text in what is listed.")
    ] = None,
) -> None:
    """List the shipped models, benchmarks or measures, or the models of others."""
    from pagbench.cli import listing

    if what is Listing.models:
        typer.echo(listing.all_models(source, dataset, threat, search))
        if source is None:
            typer.echo(f"models of others: --source {', '.join(listing.collections())}", err=True)
        return
    if source or dataset or threat or search:
        raise ContractError(f"--source, --dataset, --threat and --search are for models, not for {what.value}")
    typer.echo({"benchmarks": listing.all_benchmarks, "measures": listing.all_measures}[what.value]())


@app.command(epilog="Example: pagbench show digits/noise-0.6")
def show(
    model: Annotated[str, typer.Argument(help="Card id or card file; or a benchmark.")],
    results: ResultsOption = _RESULTS,
    offline: OfflineOption = False,
) -> None:
    """Show a model's card and its results, or a benchmark's definition."""
    from pagbench import benchmarks
    from pagbench import results as stored
    from pagbench.cli import listing

    if model.partition("@")[0] in {label.partition("@")[0] for label in benchmarks.names()}:
        typer.echo(listing.benchmark(model), nl=False)
        return
    folder = stored.local(results)
    unnamed = results == _RESULTS and not folder.exists() and stored.PUBLISHED.exists()
    typer.echo(listing.model(model, stored.PUBLISHED if unnamed else folder), nl=False)


@app.command(epilog="Example: pagbench check digits/standard my-card.yaml --benchmark digits")
def check(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="As for run.")],
    benchmark: Annotated[
        str | None,
        typer.Option("--benchmark", "-b", help="Whose images are shown; by default that of the model's data set."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    device: DeviceOption = Device.auto,
    architecture: Architecture = None,
    offline: OfflineOption = False,
) -> None:
    """Show the pre-flight card of models. Exits with 0 if all pass, 1 if one is flagged, 2 if one is refused."""
    from pagbench.cli import listing

    worst = 0
    for name in models:
        try:
            label, card = _examined(name, benchmark, architecture, batch_size, device)
        except PagbenchError as error:
            typer.echo(f"error: {printable(str(error))}", err=True)
            worst = 2
            continue
        typer.echo(f"{name} on {label}: {card.verdict}\n{listing.preflight(card)}\n")
        worst = max(worst, ("pass", "flag", "fail").index(card.verdict))
    raise typer.Exit(worst)


@app.command(epilog="Example: pagbench gradients digits/standard digits/noise-0.6 control/bayes --task generation")
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
    architecture: Architecture = None,
    offline: OfflineOption = False,
) -> None:
    """Draw a grid of image, Bayes target and the models' input gradients, or of what these make."""
    from pagbench import benchmarks, columns
    from pagbench.models import devices, requests
    from pagbench.reports import gallery

    definition = benchmarks.load(benchmark)
    if task is not None and task not in columns.ABILITIES:
        raise UnknownNameError("task", task, columns.ABILITIES)
    asked = requests.resolve(_models(models or [], architecture, definition), definition)
    shown = asked if models else [request for request in asked if not request.card.control]
    if task is not None and not shown:
        raise ContractError(f"{definition.label}: no trained model is shipped for it; name some, as control/bayes")
    loaded = [request.load(definition) for request in shown]
    chosen = devices.choose_device(device.value)
    if task is None:
        path = gallery.draw(loaded, definition, output, samples=samples, device=chosen)
    else:
        path = gallery.draw_made(loaded, definition, output, measure=task, samples=samples, device=chosen)
    typer.echo(f"picture: {path}")


@app.command(epilog="Example: pagbench figures --benchmark digits --results leaderboard/results --output figures")
def figures(
    benchmark: BenchmarkOption = "digits",
    results: ResultsOption = _RESULTS,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures and numbers.")] = Path("figures"),
) -> None:
    """Draw paths of regularisation, correlations and gradients from a results folder alone."""
    from pagbench import benchmarks
    from pagbench.reports.figures import draw_all

    definition = benchmarks.load(benchmark)
    folder = _read_from(results, definition)
    for path in draw_all(folder, definition, output, tell=lambda line: typer.echo(line, err=True)):
        typer.echo(f"written: {path}")


def _examined(
    name: str, benchmark: str | None, architecture: str | None, batch_size: int, device: Device
) -> "tuple[str, Preflight]":
    """Label of the benchmark, and the model's pre-flight card on it."""
    from pagbench import benchmarks
    from pagbench.models import checks, devices, registry, requests

    named = benchmark or (architecture is None and registry.find(name)[0].dataset) or "digits"
    definition = benchmarks.load(named)
    (request,) = requests.resolve(_models([name], architecture, definition), definition)
    chosen = devices.choose_device(device.value)
    return definition.label, checks.examine(request, definition, device=chosen, batch_size=batch_size)


def _read_from(results: str, benchmark: "Benchmark") -> Path:
    """The folder; or the published results, where the user names none and only those have the benchmark."""
    from pagbench import results as stored

    folder, published = stored.local(results), stored.PUBLISHED
    unnamed = results == _RESULTS and not stored.has_results(folder, benchmark)
    if not (unnamed and stored.has_results(published, benchmark)):
        return folder
    typer.echo(f"no results in {results}: these are the published ones, of {published}", err=True)
    return published


def _put(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{output}: cannot write ({error.strerror or error}); give another --output") from None
    typer.echo(f"written: {output}")


def _models(names: list[str], architecture: str | None, benchmark: "Benchmark") -> "list[str] | list[Request]":
    from pagbench.models import factories

    if architecture is None:
        for name in filter(factories.is_file, names):
            typer.echo(f"warning: {name} runs the code of that file", err=True)
        return names
    if not names:
        raise ContractError(
            "--architecture needs the checkpoints that it is for: pagbench run weights.pt --architecture ..."
        )
    from pagbench.models import requests

    typer.echo(f"warning: --architecture runs the code of {architecture}", err=True)
    return [requests.from_checkpoint(Path(name), architecture, benchmark) for name in names]


for _name, _command, _example in (
    *cli_doctor.COMMANDS,
    *cli_fetching.COMMANDS,
    *cli_training.COMMANDS,
    *cli_tangents.COMMANDS,
    *cli_theory.COMMANDS,
    *cli_sensitivity.COMMANDS,
    *cli_site.COMMANDS,
    *cli_verify.COMMANDS,
):
    app.command(_name, epilog=f"Example: {_example}")(_command)

app.add_typer(cli_submit.app, name="submit")


def main() -> None:
    """Entry point of the `pagbench` command."""
    # read when PyTorch is imported: threads that wait by spinning make two runs side by side several times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
