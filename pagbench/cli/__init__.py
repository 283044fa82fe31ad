"""The command line: parse, call one library function, print. Slow imports wait until a command needs them."""

import inspect
import os
import re
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pagbench import __version__
from pagbench.cli import cards, doctor, leaderboard, listing, run, studies, submissions, training
from pagbench.cli.options import OfflineOption
from pagbench.errors import PagbenchError, printable
from pagbench.running.interrupts import Stopped
from pagbench.storage import cache
from pagbench.storage.files import at_home

_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""Click's class, or that of the copy of click that newer releases of typer bring."""
_HOME = re.compile(r"(--?[\w-]+=|)(~[\w.-]*/.*|~)")
"""An argument that names something in a home folder; shells leave `~` as it is behind `=` and in quotes."""


def _expanded(argument: str) -> str:
    match = _HOME.fullmatch(argument)
    return argument if match is None else f"{match[1]}{at_home(match[2])}"


def _misused(error: Any, command: str) -> BaseException:
    """What to raise for a wrong command line, of which a line is printed here; without a command typer shows the help.

    Args:
        error: typer's.
        command: where it was made, if the error does not say so.
    """
    from pydantic import ValidationError

    said = error.format_message().replace("Value error, ", "").rstrip(".")
    if not said:
        return error
    if isinstance(error.__cause__, ValidationError) and (got := repr(error.__cause__.errors()[0]["input"])) not in said:
        said += f", got {got}"
    where = command if error.ctx is None else error.ctx.command_path
    said = f"{said[0].lower()}{said[1:]}{'' if said.endswith('?') else ';'} see {where} --help"
    typer.echo(f"error: {printable(said)}", err=True)
    return typer.Exit(error.exit_code)


class _Group(TyperGroup):
    """Prints an error as one line and exits with 2, or as shells do after a signal."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Options of `pagbench` itself are read here."""
        try:
            return super().make_context(*args, **kwargs)
        except _USAGE_ERROR as error:
            raise _misused(error, "pagbench") from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Every path on the command line is read here, so that none is left with `~` in it."""
        return super().parse_args(ctx, [_expanded(argument) for argument in args])

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer's context is a subclass
        try:
            return super().invoke(ctx)
        except PagbenchError as error:
            for line in str(error).splitlines():
                typer.echo(f"error: {printable(line)}", err=True)
            raise typer.Exit(128 + error.number if isinstance(error, Stopped) else 2) from None
        except _USAGE_ERROR as error:
            raise _misused(error, f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure how robust a classifier is on and off the data manifold, and whether its gradients mean anything.",
    epilog="Start with: pagbench run",
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"pagbench {__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    context: typer.Context,
    offline: OfflineOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.with_resource(cache.libraries())


for _name, _command, _example in (
    ("run", run.run, "digits/standard digits/noise-0.6 --benchmark digits"),
    ("leaderboard", leaderboard.leaderboard, "--benchmark digits --format markdown --output table.md"),
    ("compare", leaderboard.compare, "digits/noise-0.6 digits/standard --benchmark digits"),
    ("export", leaderboard.export, "digits/noise-0.6 --benchmark digits --format hf --output pagbench.yaml"),
    ("list", listing.list_, "models --source robustbench --dataset cifar10 --threat L2"),
    ("show", listing.show, "digits/noise-0.6"),
    ("splits", listing.splits, "digits --output splits.csv"),
    ("check", run.check, "digits/standard my-card.yaml --benchmark digits"),
    ("gradients", run.gradients, "digits/standard digits/noise-0.6 control/bayes --task generation"),
    ("figures", leaderboard.figures, "--benchmark digits --results leaderboard/results --output figures"),
    ("doctor", doctor.doctor, "--benchmark cifar10"),
    ("fetch", run.fetch, "robustbench/cifar10/L2/Engstrom2019Robustness --benchmark cifar10"),
    ("train", training.train, "digits --family noise --strength 0.6 --seed 0"),
    ("sweep", training.sweep, "fashion-mnist --family gradient-norm --strengths 1e-4:10:6 --seeds 2 --jobs 2"),
    ("fit", training.fit, "digits mixture"),
    ("validate", studies.validate, "digits --images 100"),
    ("tangents", studies.tangents, "fashion-mnist --images 50"),
    ("theory", studies.theory, "--output theory"),
    ("sensitivity", studies.sensitivity, "fashion-mnist@1 --results leaderboard/results"),
    ("site", leaderboard.site, "--results leaderboard/results --output site"),
    ("verify", submissions.verify, "digits/noise-0.6 --samples 50"),
):
    _help = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(_command.__doc__ or ""))  # typer keeps breaks of lines
    app.command(_name, help=_help, epilog=f"Example: pagbench {_name} {_example}")(_command)
app.add_typer(cards.app, name="card")
app.add_typer(submissions.app, name="submit")


def main() -> None:
    """Entry point of the `pagbench` command."""
    # read when PyTorch is imported: threads that wait by spinning make two runs side by side several times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app(prog_name="pagbench")
