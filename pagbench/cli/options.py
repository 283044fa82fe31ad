"""Options that several commands share."""

import enum
from typing import Annotated

import typer

from pagbench.errors import ContractError
from pagbench.storage import cache


class Device(enum.StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


BenchmarkOption = Annotated[str, typer.Option("--benchmark", "-b", help="Name, or name@version.")]
ResultsOption = Annotated[
    str,
    typer.Option(
        "--results",
        "-r",
        help="Folder of Parquet files, or its URL, as s3://bucket/results.",
        envvar="PAGBENCH_RESULTS",
    ),
]


def _at_least_one(batch_size: int | None) -> int | None:
    if batch_size is not None and batch_size < 1:
        raise ContractError(f"batch size {batch_size} is out of range; expected 1 or more")
    return batch_size


BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Images at a time, found by itself where not given; does not change a row.", callback=_at_least_one
    ),
]
DeviceOption = Annotated[Device, typer.Option(help="auto takes CUDA, then MPS, then the CPU.")]


def _go_offline(context: typer.Context, offline: bool) -> bool:
    """Lasts as long as the command: the option acts by this alone."""
    if offline or cache.offline():
        context.with_resource(cache.going_offline())
    return offline


OfflineOption = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Open no socket: what is not in the cache is an error that says where to put it. As PAGBENCH_OFFLINE=1.",
        callback=_go_offline,
    ),
]
