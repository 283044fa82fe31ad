"""The commands of `pagbench submit`: write, check, measure and add a submission."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pagbench.cli.options import BatchSizeOption, Device, DeviceOption, OfflineOption
from pagbench.errors import CardError, ContractError, printable

if TYPE_CHECKING:
    from pagbench.submissions.findings import Finding
    from pagbench.submissions.questions import Question

app = typer.Typer(no_args_is_help=True, help="Submit a model to the leaderboard: init, check, run, add.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The submission's folder.")]
Leaderboard = Annotated[Path, typer.Option(help="The leaderboard that it is for, in a checkout.")]
NamedBenchmark = Annotated[
    str | None, typer.Option("--benchmark", "-b", help="Name, or name@version; by default that of the card's data set.")
]
Seconds = Annotated[int, typer.Option(min=1, help="Time in which the network must be tried.")]
_LEADERBOARD = Path("leaderboard")
_DIR = Path("submission")


@app.command(epilog="Example: pagbench submit init my-model --benchmark digits --weights my-model.pt")
def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write.")] = _DIR,
    benchmark: Annotated[str | None, typer.Option("--benchmark", "-b", help="Name, or name@version.")] = None,
    weights: Annotated[str | None, typer.Option(help="State dict: .safetensors, .pt or .pth.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="As in small-cnn, timm/resnet18 or torchvision/resnet18.")
    ] = None,
    activation: Annotated[str | None, typer.Option(help="Of pagbench's own architectures.")] = None,
    family: Annotated[str | None, typer.Option(help="How it was trained.")] = None,
    strength: Annotated[str | None, typer.Option(help="Of the regularisation, in the family's unit.")] = None,
    id: Annotated[str | None, typer.Option(help="As in digits/my-model.")] = None,
    title: Annotated[str | None, typer.Option(help="A few words.")] = None,
    output: Annotated[str | None, typer.Option(help="logits, probabilities or log-probabilities.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of the normalisation, per channel: 0.5,0.5,0.5.")] = None,
    std: Annotated[str | None, typer.Option(help="Of the normalisation.")] = None,
    authors: Annotated[str | None, typer.Option(help="Who submits it.")] = None,
    license: Annotated[str | None, typer.Option(help="Of the weights, an SPDX id.")] = None,
    reference: Annotated[str | None, typer.Option(help="Paper or page.")] = None,
    trained_on_target: Annotated[
        str | None, typer.Option(help="Whether training saw a benchmark's own target: yes or no.")
    ] = None,
    link: Annotated[
        str | None, typer.Option(help="Where the weights are published: https://…, hf:… or gdrive:…")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the defaults.")] = False,
) -> None:
    """Ask about a model and write its submission: a card, and the weights beside it."""
    from pagbench.submissions import drafting
    from pagbench.submissions.questions import QUESTIONS

    answers: dict[str, Any] = {}
    for question in QUESTIONS:
        answers[question.name] = _answer(question, context.params[question.name], answers, yes)
    card = drafting.draft(folder, answers)
    typer.echo(f"written: {card}  (next: pagbench submit check {folder})")


def _answer(question: "Question", given: str | None, answers: dict[str, Any], yes: bool) -> Any:
    """From the option, the default, or the terminal, where a wrong answer is asked for again."""
    default = question.default(answers)
    if given is None and yes:
        given = default
        if given is None:
            raise ContractError(f"no answer to {question.text!r}; give --{question.name.replace('_', '-')}")
    if given is not None:
        return question.value(given)

    def judged(text: str) -> Any:
        try:
            return question.value(text)
        except CardError as error:
            raise typer.BadParameter(str(error)) from None

    return typer.prompt(question.text, default=default, value_proc=judged)


@app.command(epilog="Example: pagbench submit check my-model")
def check(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="The submission's folder.")] = None,
    benchmark: NamedBenchmark = None,
    leaderboard: Leaderboard = _LEADERBOARD,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="REVISION",
            help="Check the submissions that the branch has changed since a git revision, and that it changes no more.",
        ),
    ] = None,
    seconds: Seconds = 600,
    offline: OfflineOption = False,
) -> None:
    """Validate a submission without running code from it. Exits with 0 if nothing is wrong, with 1 otherwise."""
    from pagbench.submissions import changes, checking
    from pagbench.submissions.confined import Limits

    if (folder is None) == (since is None):
        raise ContractError("give the submission's folder, or --since a revision")
    if folder is not None:
        raise typer.Exit(
            _tell(checking.check(folder, leaderboard, benchmark=benchmark, limits=Limits(seconds=seconds)))
        )
    folders, findings = changes.submissions(leaderboard, since or "HEAD")
    worst = _tell(findings)
    for changed in [] if worst else folders:
        typer.echo(f"submission: {printable(str(changed))}")
        label = benchmark or changed.parent.parent.name
        found = checking.check(changed, leaderboard, benchmark=label, limits=Limits(seconds=seconds))
        if _tell(found):
            worst = 1
        else:
            _rank(changed, leaderboard, label)
    raise typer.Exit(worst)


def _rank(folder: Path, leaderboard: Path, label: str) -> None:
    """Prints where an added submission stands."""
    from pagbench import benchmarks
    from pagbench.submissions import adding, checking

    standing = adding.standing(leaderboard, benchmarks.load(label), checking.read_card(folder).id)
    for line in standing.lines() if standing else ["it has no results yet: measure it with pagbench submit run"]:
        typer.echo(line)


@app.command(epilog="Example: pagbench submit run my-model --device cuda")
def run(
    folder: Folder,
    benchmark: NamedBenchmark = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = Device.auto,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Measure again what is there already.")] = False,
    leaderboard: Leaderboard = _LEADERBOARD,
    offline: OfflineOption = False,
) -> None:
    """Measure a submission, without the anchors; finished rows are kept in DIR/results and skipped next time."""
    from pagbench.submissions import checking
    from pagbench.submissions.findings import refused
    from pagbench.submissions.folder import CARD, RESULTS

    found = list(checking.outside(folder, leaderboard, benchmark))
    if refused(found):
        raise typer.Exit(_tell(finding for finding in found if finding.level == "error"))
    from pagbench.running import runner

    definition = checking.benchmark_of(checking.read_card(folder), benchmark)
    runner.run(
        folder / CARD, benchmark=definition, results=folder / RESULTS, batch_size=batch_size, device=device.value,
        overwrite=overwrite, anchors=False, progress=True,
    )  # fmt: skip
    typer.echo(f"results: {folder / RESULTS / definition.label}  (next: pagbench submit add {folder})")


@app.command(epilog="Example: pagbench submit add my-model")
def add(
    folder: Folder,
    benchmark: NamedBenchmark = None,
    leaderboard: Leaderboard = _LEADERBOARD,
    seconds: Seconds = 600,
    offline: OfflineOption = False,
) -> None:
    """Check a submission, lay it into the leaderboard, show its rank, and say how to open a pull request."""
    from pagbench.submissions import adding, checking
    from pagbench.submissions.confined import Limits

    if not leaderboard.is_dir():
        raise ContractError(f"{leaderboard}: no such folder; run this in a checkout, or give --leaderboard")
    if _tell(checking.outside(folder, leaderboard, benchmark)):
        raise typer.Exit(1)
    card = checking.read_card(folder)
    definition = checking.benchmark_of(card, benchmark)
    target = adding.place(leaderboard, definition, card)
    with adding.staged(folder, leaderboard, definition, card) as copy:
        changed = [one for one in checking.outside(copy, leaderboard, definition.label) if one.level == "error"]
        if _tell(changed) or _tell(checking.inside(copy, definition.label, Limits(seconds=seconds))):
            raise typer.Exit(1)
        adding.settle(copy, target)
    typer.echo(f"added: {target}")
    _rank(target, leaderboard, definition.label)
    branch = f"submit-{card.id.replace('/', '-')}"
    typer.echo(
        f"next: git switch -c {branch} && git add {target} && git commit -m 'Submit {card.id} to {definition.label}' "
        f"&& git push -u origin {branch}, then open a pull request"
    )


def _tell(findings: "Iterable[Finding]") -> int:
    """Prints findings as they come; 1 if any is an error."""
    from pagbench.submissions.findings import refused

    kept = []
    for finding in findings:
        typer.echo(str(finding))
        kept.append(finding)
    return int(refused(kept))
