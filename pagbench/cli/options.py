"""Options that several commands share, and what commands do with them."""

import enum
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from pagbench.errors import ContractError, printable
from pagbench.storage import cache

if TYPE_CHECKING:
    import torch


class Device(enum.StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"

    def choose(self) -> "torch.device":
        """The device.

        Raises:
            ContractError: it does not exist here.
        """
        from pagbench.models import devices

        return devices.choose_device(self.value)


BenchmarkOption = Annotated[str, typer.Option("--benchmark", "-b", help="Name, or name@version.")]
RESULTS = "results"
ResultsOption = Annotated[
    str,
    typer.Option(
        "--results",
        "-r",
        help="Folder of Parquet files, or its URL, as s3://bucket/results.",
        envvar="PAGBENCH_RESULTS",
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="Rank the models among those of another results folder, or of its URL; published, among those of the "
        "published leaderboard.",
        metavar="published|FOLDER",
    ),
]

# what a card says: card new and submit init ask for what is not given
CardArchitecture = Annotated[
    str | None, typer.Option(help="As in small-cnn, timm/resnet18, torchvision/resnet18 or graph/my-network.json.")
]
CardActivation = Annotated[str | None, typer.Option(help="Of pagbench's own architectures.")]
CardFamily = Annotated[str | None, typer.Option(help="How it was trained.")]
CardStrength = Annotated[str | None, typer.Option(help="Of the regularisation, in the family's unit.")]
CardTrainedOn = Annotated[
    str | None, typer.Option(help="Images that it was trained on: train, other, measured or unknown.")
]
CardTrainingAccuracy = Annotated[str | None, typer.Option(help="On the training split, a fraction.")]
CardId = Annotated[str | None, typer.Option(help="As in digits/my-model.")]
CardTitle = Annotated[str | None, typer.Option(help="A few words.")]
CardOutput = Annotated[str | None, typer.Option(help="logits, probabilities or log-probabilities.")]
CardMean = Annotated[str | None, typer.Option(help="Of the normalisation, per channel: 0.5,0.5,0.5.")]
CardStd = Annotated[str | None, typer.Option(help="Of the normalisation.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")]


def _at_least_one(batch_size: int | None) -> int | None:
    if batch_size is not None and batch_size < 1:
        raise ContractError(f"batch size {batch_size} is out of range; expected 1 or more")
    return batch_size


BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Images at a time; chosen automatically by default. No row depends on it.", callback=_at_least_one
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
        help="Open no socket; if a file is not cached, an error says where to put it. Same as PAGBENCH_OFFLINE=1.",
        callback=_go_offline,
    ),
]
ArchitectureOption = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        help="module:function that builds the network of a checkpoint without a card. Runs that code.",
        metavar="MODULE:FUNCTION",
    ),
]


def _ids(given: list[str] | None) -> list[str]:
    """Takes the commas of a repeated option apart."""
    return [name.strip() for part in given or [] for name in part.split(",")]


IdOption = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        help="An id for each of the models, in their order; by default that of the card, or the file's name. May be "
        "repeated, or have commas.",
        metavar="NAME,...",
        callback=_ids,
    ),
]


_NARROWEST = 40
"""Characters per line that a terminal is taken to have at least: in fewer no table can be read."""


def terminal_width() -> int | None:
    """Characters per line of what is printed to: of a terminal, or as `COLUMNS` says; None for lines of any length."""
    columns = os.environ.get("COLUMNS", "")
    if not sys.stdout.isatty() and not (columns.isdecimal() and int(columns)):
        return None
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def wrapped(text: str, width: int, margin: str = "") -> list[str]:
    """A line of text in lines that are broken at spaces alone; a word that is longer than a line runs over.

    Args:
        text: one line.
        width: characters per line.
        margin: before every line but the first, beside the spaces that the first begins with.
    """
    margin = " " * (len(text) - len(text.lstrip())) + margin
    return textwrap.wrap(text, max(width, 1), subsequent_indent=margin, break_long_words=False, break_on_hyphens=False)


def echo(text: str) -> None:
    """Prints lines; those that are too long for the terminal go on below, and are broken at spaces alone."""
    from rich.cells import cell_len

    width = terminal_width()
    for line in text.splitlines():
        parts = [line]
        if width is not None and cell_len(line) > width:
            parts = wrapped(line, width, "    ")
        typer.echo("\n".join(parts))


def warn_of(line: str) -> None:
    """A warning of what a command goes on without."""
    warn(f"warning: {line}")


def warn(line: str) -> None:
    """A line of progress, or a warning, beside what a command prints."""
    typer.echo(printable(line), err=True)
