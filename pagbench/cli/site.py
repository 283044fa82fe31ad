"""The command that builds the leaderboard's pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pagbench.cli.options import ResultsOption


def site(
    results: ResultsOption = "results",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pages.")] = Path("site"),
) -> None:
    """Build the leaderboard as a static site that opens from disk."""
    from pagbench import results as stored
    from pagbench.reports.site import build

    written = build(stored.local(results), output)
    typer.echo(f"{len(written)} files; open {output / 'index.html'}")


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("site", site, "pagbench site --results leaderboard/results --output site"),
)
"""Name, function and example of each command, for `pagbench.cli`."""
