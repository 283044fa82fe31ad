"""The commands that ask questions of a benchmark: validate, tangents, theory, sensitivity."""

import itertools
from pathlib import Path
from typing import Annotated

import typer

from pagbench.cli.options import RESULTS, Device, DeviceOption, OfflineOption, echo, terminal_width, warn
from pagbench.cli.tables import aligned
from pagbench.errors import ContractError
from pagbench.storage import files

_WIDTH = 150


def validate(
    benchmark: Annotated[str, typer.Argument(help="Name, or name@version.")],
    images: Annotated[
        int | None, typer.Option(min=2, help="The first N held-out and measured images; all by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the numbers there, as JSON.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw every density over sigma there, PNG or PDF by the suffix.")
    ] = None,
    device: DeviceOption = Device.auto,
    offline: OfflineOption = False,
) -> None:
    """Say how good a benchmark's ruler is: its density and tangent spaces beside other candidates, on unseen images.

    Held-out denoising error and class NLL under noise of every candidate density over a grid of sigma, agreement of two
    halves of the training split and the noise ceilings that follow, energy of known transformations that tangent spaces
    capture, what fewer directions and probes cost in precision, and what the rules say of all these.
    """
    from pagbench import benchmarks
    from pagbench.benchmarks.validation import to_text
    from pagbench.reports.figures import ruler
    from pagbench.studies import validation

    definition = benchmarks.load(benchmark)
    if figure is not None:
        ruler.check_name(figure)
    found = validation.validate(
        definition,
        images=images,
        device=device.choose(),
        advance=lambda doing: warn(f"computing: {doing}"),
    )
    echo(to_text(found))
    if output is not None:
        files.write(output, found.model_dump_json(indent=1) + "\n", ContractError)
        typer.echo(f"numbers: {output}")
    if figure is not None:
        typer.echo(f"figure: {ruler.save(found, definition, figure)}")


def tangents(
    benchmark: Annotated[str, typer.Argument(help="Benchmark whose manifold is compared.")],
    manifold: Annotated[
        list[Path] | None,
        typer.Option(help="YAML card of a manifold to compare with, instead of the usual estimates. May be repeated."),
    ] = None,
    images: Annotated[int, typer.Option(min=2, help="The first N samples.")] = 100,
    device: DeviceOption = Device.auto,
) -> None:
    """Compare a benchmark's tangent spaces with other estimates: mean squared cosine of the principal angles."""
    from pagbench import benchmarks
    from pagbench.cards import ManifoldCard
    from pagbench.cards.plain_yaml import read_yaml
    from pagbench.studies import tangents

    definition = benchmarks.load(benchmark)
    others = [ManifoldCard.parse(read_yaml(path), str(path)) for path in manifold or []]
    compared = tangents.compare(
        definition,
        others or None,
        images=images,
        device=device.choose(),
        advance=lambda name: warn(f"computing: {name}"),
    )
    if not compared.table.empty:
        rows = compared.table.map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value))
        typer.echo(aligned([list(rows.columns), *rows.values.tolist()]))
    for line in compared.left_out:
        echo(f"left out: {line}")


def theory(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("theory"),
) -> None:
    """Try the two theorems behind the benchmark on data in closed form; draw them, print claims and deviations.

    A control that fails as predicted is no failure. Exits with 2 if a prediction is not found.
    """
    from pagbench.reports.figures.theory import check
    from pagbench.studies.theory import claims

    checked = check(output, advance=lambda title: warn(f"computing: {title}"))
    listed = list(itertools.chain.from_iterable(checked.values()))
    typer.echo(claims.to_table(listed, terminal_width() or _WIDTH), nl=False)
    typer.echo(f"pictures: {', '.join(str(output / f'theory-{name}.png') for name in checked)}")
    claims.require(listed)


def sensitivity(
    benchmark: Annotated[str, typer.Argument(help="Name, or name@version.")],
    images: Annotated[int, typer.Option(min=2, help="Images that models are measured on again.")] = 250,
    results: Annotated[
        str,
        typer.Option(
            "--results", "-r", help="Folder of Parquet files; the report is put there, too.", envvar="PAGBENCH_RESULTS"
        ),
    ] = RESULTS,
    device: DeviceOption = Device.auto,
    offline: OfflineOption = False,
) -> None:
    """Say how much a benchmark's ranking depends on its own choices: one is moved at a time, all else as published."""
    from pagbench import benchmarks
    from pagbench import results as stored
    from pagbench.studies.stability import report, study

    if stored.is_url(results):
        raise ContractError(f"{results}: the report is written beside the results; give a folder on a disk")
    definition, folder = benchmarks.load(benchmark), stored.local(results)
    outcome = study.run(definition, folder, images=images, device=device.choose(), progress=True, on_warning=warn)
    path = report.write_report(outcome, report.report_path(folder, definition))
    report.show(outcome)
    typer.echo(f"report: {path}  (next: pagbench site -r {results})")
