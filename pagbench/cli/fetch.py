"""The command that fetches what others publish."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pagbench.cli.options import OfflineOption
from pagbench.errors import ContractError, PagbenchError, WeightsError

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark


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
        failures += _fetch_parts(definition)
    if failures:
        raise WeightsError("\n".join(failures))


def _fetch_models(names: list[str]) -> Iterator[str]:
    """Fetches all it can and tells where the files are; yields what went wrong."""
    from pagbench import models
    from pagbench.storage import downloads as fetching

    for name in names:
        try:
            card, _ = models.find(name)
            files = fetching.named_in(card)
            for file in files:
                typer.echo(f"{name}: {fetching.get(file)}")
            if not files:
                typer.echo(f"{name}: nothing to fetch")
        except PagbenchError as error:
            yield str(error)


def _fetch_parts(benchmark: "Benchmark") -> Iterator[str]:
    """The same for a benchmark: its anchors, its networks, then its data."""
    from pagbench import data
    from pagbench.storage import downloads as fetching

    yield from _fetch_models(list(benchmark.anchors))
    for file in fetching.named_in(benchmark):
        try:
            typer.echo(f"{benchmark.label}: {fetching.get(file)}")
        except PagbenchError as error:
            yield str(error)
    try:
        data.splits(benchmark)
        typer.echo(f"{benchmark.label}: its data are here")
    except PagbenchError as error:
        yield str(error)


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("fetch", fetch, "pagbench fetch robustbench/cifar10/L2/Engstrom2019Robustness --benchmark cifar10"),
)
"""Name, function and example of each command, for `pagbench.cli`."""
