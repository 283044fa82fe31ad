"""The command that moves a benchmark's own choices."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pagbench.cli.options import Device, DeviceOption, OfflineOption
from pagbench.errors import ContractError


def sensitivity(
    benchmark: Annotated[str, typer.Argument(help="Name, or name@version.")],
    images: Annotated[int, typer.Option(min=2, help="Images that models are measured on again.")] = 250,
    results: Annotated[
        str,
        typer.Option(
            "--results", "-r", help="Folder of Parquet files; the report is put there, too.", envvar="PAGBENCH_RESULTS"
        ),
    ] = "results",
    device: DeviceOption = Device.auto,
    offline: OfflineOption = False,
) -> None:
    """Say how much a benchmark's ranking depends on its own choices: one is moved at a time, all else as published."""
    from pagbench import benchmarks
    from pagbench import results as stored
    from pagbench.models import devices
    from pagbench.studies.stability import models as remeasuring
    from pagbench.studies.stability import report, table

    if stored.is_url(results):
        raise ContractError(f"{results}: the report is written beside the results; give a folder on a disk")
    definition, folder = benchmarks.load(benchmark), Path(results)
    found = remeasuring.run(
        definition,
        folder,
        images=images,
        device=devices.choose_device(device.value),
        progress=True,
        tell=lambda line: typer.echo(line, err=True),
    )
    path = report.write(found, report.place(folder, definition))
    table.show(found)
    typer.echo(f"report: {path}  (next: pagbench site -r {results})")


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("sensitivity", sensitivity, "pagbench sensitivity fashion-mnist --results leaderboard/results"),
)
"""Name, function and example of each command, for `pagbench.cli`."""
