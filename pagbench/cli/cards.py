"""The commands for cards: card new."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pagbench.cli import submissions
from pagbench.cli.options import (
    CardActivation,
    CardArchitecture,
    CardFamily,
    CardId,
    CardMean,
    CardOutput,
    CardStd,
    CardStrength,
    CardTitle,
    CardTrainedOn,
    CardTrainingAccuracy,
    OfflineOption,
    YesOption,
)

app = typer.Typer(no_args_is_help=True, help="Write cards, which name networks of your own for all other commands.")


@app.callback()
def _cards() -> None:
    """Keeps `new` a command of its own while it is the only one."""


@app.command(
    epilog="Example: pagbench card new my-net.yaml --weights my-net.pt --architecture small-cnn --activation silu"
)
def new(
    context: typer.Context,
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The file to write, my-net.yaml.")],
    benchmark: Annotated[
        str | None,
        typer.Option("--dataset", "--benchmark", "-b", help="What it was trained on, by the name of a benchmark."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="State dict beside the card: .safetensors, .pt or .pth.")] = None,
    architecture: CardArchitecture = None,
    activation: CardActivation = None,
    family: CardFamily = None,
    strength: CardStrength = None,
    trained_on: CardTrainedOn = None,
    training_accuracy: CardTrainingAccuracy = None,
    id: CardId = None,
    title: CardTitle = None,
    output: CardOutput = None,
    mean: CardMean = None,
    std: CardStd = None,
    state_key: Annotated[str | None, typer.Option(help="Where the state dict lies in the file.")] = None,
    strip_prefix: Annotated[str | None, typer.Option(help="Removed from the front of its names.")] = None,
    yes: YesOption = False,
    offline: OfflineOption = False,
) -> None:
    """Write the card of a network whose weights you have: ask for what is not given, and try the network."""
    from pagbench.submissions import create

    answers: dict[str, Any] = {"card": card}
    for question in create.CARD_QUESTIONS:
        answers[question.name] = submissions.answer(question, context.params[question.name], answers, yes)
    tried = create.create_card(answers)
    if tried.accuracy is not None:
        advice = "if you expected another, check activation and normalisation"
        typer.echo(f"accuracy on {tried.images} images that are not measured: {tried.accuracy:.3f}; {advice}")
    typer.echo(f"written: {card}  (next: pagbench run {card} --benchmark {tried.benchmark.label})")
