"""The commands for cards: card new."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pagbench.cli import submissions
from pagbench.cli.options import OfflineOption

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
    architecture: Annotated[
        str | None, typer.Option(help="As in small-cnn, timm/resnet18 or torchvision/resnet18.")
    ] = None,
    activation: Annotated[str | None, typer.Option(help="Of pagbench's own architectures.")] = None,
    family: Annotated[str | None, typer.Option(help="How it was trained.")] = None,
    strength: Annotated[str | None, typer.Option(help="Of the regularisation, in the family's unit.")] = None,
    trained_on: Annotated[
        str | None, typer.Option(help="Images that it was trained on: train, other, measured or unknown.")
    ] = None,
    training_accuracy: Annotated[str | None, typer.Option(help="On the training split, a fraction.")] = None,
    id: Annotated[str | None, typer.Option(help="As in digits/my-net.")] = None,
    title: Annotated[str | None, typer.Option(help="A few words.")] = None,
    output: Annotated[str | None, typer.Option(help="logits, probabilities or log-probabilities.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of the normalisation, per channel: 0.5,0.5,0.5.")] = None,
    std: Annotated[str | None, typer.Option(help="Of the normalisation.")] = None,
    state_key: Annotated[str | None, typer.Option(help="Where the state dict lies in the file.")] = None,
    strip_prefix: Annotated[str | None, typer.Option(help="Removed from the front of its names.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")] = False,
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
