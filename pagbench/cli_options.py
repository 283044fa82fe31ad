"""Options that several commands share."""

import enum
from pathlib import Path
from typing import Annotated

import typer


class Device(enum.StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


BenchmarkOption = Annotated[str, typer.Option("--benchmark", "-b", help="Name, or name@version.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", "-r", help="Folder of Parquet files.", envvar="PAGBENCH_RESULTS")
]
DeviceOption = Annotated[Device, typer.Option(help="auto takes CUDA, then MPS, then the CPU.")]
