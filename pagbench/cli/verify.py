"""The command that measures published results again."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pagbench.cli.options import BatchSizeOption, Device, DeviceOption, OfflineOption
from pagbench.errors import ContractError, PagbenchError, printable

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.submissions.claimed import Claim
    from pagbench.submissions.rerun import Outcome

_REFUTED, _NOT_RERUN = 1, 2


def verify(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET]...",
            help="Submission folders, or models of the results folder; all of it and its submissions by default.",
        ),
    ] = None,
    results: Annotated[
        Path, typer.Option("--results", "-r", help="Folder of Parquet files.", envvar="PAGBENCH_RESULTS")
    ] = Path("leaderboard/results"),
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="Only results on it; on all benchmarks by default.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Images that are measured again.")] = 50,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the draw of these images; by default one that nobody can foresee.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=1e-6, max=0.1, help="Of a value plus its column's root mean square.")
    ] = 1e-3,
    by: Annotated[
        str | None, typer.Option(help="Who verifies; by default the repository that a workflow runs in, or git's user.")
    ] = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = Device.auto,
    offline: OfflineOption = False,
) -> None:
    """Measure some images again and compare with the results; the verdict is kept beside them and shown on the board.

    Exits with 1 if results are refuted, with 2 if some cannot be measured here.
    """
    from pagbench import benchmarks
    from pagbench.submissions import rerun

    claimed, worst = _found(targets, results, None if benchmark is None else benchmarks.load(benchmark))
    drawn = secrets.randbits(32) if seed is None else seed
    outcomes = rerun.verify(
        claimed, seed=drawn, by=by or _verifier(), samples=samples, tolerance=tolerance, batch_size=batch_size,
        device=device.value, progress=True,
    )  # fmt: skip
    for outcome in outcomes:
        worst = _worse(worst, _tell(outcome))
    raise typer.Exit(worst)


def _found(targets: list[str] | None, results: Path, benchmark: "Benchmark | None") -> "tuple[list[Claim], int]":
    """What can be verified; targets that have no results are told, and do not stop the others."""
    from pagbench.submissions import claimed

    found, worst = [], 0
    for target in targets or claimed.names(results, benchmark):
        try:
            found += claimed.find(target, results, benchmark)
        except PagbenchError as error:
            typer.echo(f"error: {printable(str(error))}", err=True)
            worst = _NOT_RERUN
    if not found and not worst:
        raise ContractError(f"{results}: no results to verify; give another --results folder or a submission's folder")
    return found, worst


def _tell(outcome: "Outcome") -> int:
    """Prints one line, and returns what it means for the exit status."""
    from pagbench.submissions.findings import Finding

    record, subject = outcome.record, str(outcome.claim)
    if record is None:
        typer.echo(Finding("error", subject, f"not verified: {outcome.flaw}"), err=True)
        return _NOT_RERUN
    if record.verdict == "refuted":
        typer.echo(Finding("error", subject, f"{record.summary()}: {record.reason}"))
        return _REFUTED
    worst = f"largest difference {record.worst_difference:.2f} of what is tolerated, in {record.worst_column or 'none'}"
    typer.echo(Finding("ok", subject, f"{record.summary()}; {worst}; draw {record.seed}"))
    return 0


def _worse(a: int, b: int) -> int:
    """Refuted results weigh more than those that could not be measured."""
    return _REFUTED if _REFUTED in (a, b) else max(a, b)


def _verifier() -> str:
    """Who runs this: the repository whose workflow it is, or the user that git knows.

    Raises:
        ContractError: neither is known.
    """
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        return f"workflow of {repository}"
    git = shutil.which("git")
    command = [git or "git", "config", "user.name"]
    found = subprocess.run(command, capture_output=True, text=True, check=False) if git else None
    name = "" if found is None else found.stdout.strip()
    if not name:
        raise ContractError("nobody to name in the record; give --by NAME")
    return name


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("verify", verify, "pagbench verify digits/noise-0.6 --samples 50"),
)
"""Name, function and example of each command, for `pagbench.cli`."""
