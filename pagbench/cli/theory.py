"""The command that tries the theory out."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

_WIDTH = 150


def theory(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("theory"),
) -> None:
    """Try the two theorems behind the benchmark on data in closed form; draw them, print claims and deviations.

    A control that fails as predicted is no failure. Exits with 2 if a prediction is not found.
    """
    from pagbench.reports.figures.theory import check
    from pagbench.studies.theory import claims

    found = check(output, advance=lambda title: typer.echo(f"computing: {title}", err=True))
    listed = [claim for each in found.values() for claim in each]
    width = shutil.get_terminal_size((_WIDTH, 24)).columns if sys.stdout.isatty() else _WIDTH
    typer.echo(claims.to_table(listed, width), nl=False)
    typer.echo(f"pictures: {', '.join(str(output / f'theory-{name}.png') for name in found)}")
    claims.require(listed)


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (("theory", theory, "pagbench theory --output theory"),)
"""Name, function and example of each command, for `pagbench.cli`."""
