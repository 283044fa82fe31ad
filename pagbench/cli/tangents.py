"""The command that compares tangent spaces."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pagbench.cli.options import Device, DeviceOption


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
    from pagbench.cards import ManifoldCard, read_yaml
    from pagbench.models import devices
    from pagbench.studies import tangents

    definition = benchmarks.load(benchmark)
    others = [ManifoldCard.parse(read_yaml(path), str(path)) for path in manifold or []]
    found = tangents.compare(
        definition,
        others or None,
        images=images,
        device=devices.choose_device(device.value),
        advance=lambda name: typer.echo(f"computing: {name}", err=True),
    )
    if not found.table.empty:
        typer.echo(found.table.to_string(index=False, float_format="{:.3f}".format))
    for line in found.left_out:
        typer.echo(f"left out: {line}")


COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("tangents", tangents, "pagbench tangents fashion-mnist --images 50"),
)
"""Name, function and example of each command, for `pagbench.cli`."""
