"""The command that says what is here and what is missing."""

import enum
import json
import shutil
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pagbench.cli.options import OfflineOption

_WIDTH = 100


class Shape(enum.StrEnum):
    """How to print a report."""

    text = "text"
    json = "json"


def doctor(
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="Look at this benchmark alone; name, or name@version.")
    ] = None,
    format: Annotated[Shape, typer.Option(help="text or json.")] = Shape.text,
    offline: OfflineOption = False,
) -> None:
    """Say what is installed, which device and folders runs use, which benchmarks are ready, and how to get the rest.

    Connects to nothing. Exits with 0 if a benchmark is ready to run and nothing is broken, with 1 otherwise.
    """
    from pagbench.cli.diagnosis import examine

    if format is Shape.text and sys.stderr.isatty():
        typer.echo("importing what is installed ...", err=True)
    report = examine(benchmark)
    if format is Shape.json:
        typer.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH)
        typer.echo(report.to_text(width), nl=False)
    raise typer.Exit(0 if report.healthy else 1)


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("doctor", doctor, "pagbench doctor --benchmark cifar10"),
)
"""Name, function and example of each command, for `pagbench.cli`."""
