"""The commands for submissions: submit init, check, run, add and results, and verify."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pagbench.cli.options import (
    BatchSizeOption,
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
    Device,
    DeviceOption,
    OfflineOption,
    YesOption,
    warn,
)
from pagbench.errors import CardError, ContractError, PagbenchError, printable
from pagbench.storage.files import at_home

if TYPE_CHECKING:
    from pagbench.benchmarks import Benchmark
    from pagbench.submissions.create import Question
    from pagbench.submissions.findings import Finding
    from pagbench.submissions.verify import Outcome

app = typer.Typer(
    no_args_is_help=True, help="Submit a model to the leaderboard: init, check, run, add. Or results alone: results."
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The submission's folder.")]
Leaderboard = Annotated[Path, typer.Option(help="The leaderboard that it is for, in a checkout.")]
NamedBenchmark = Annotated[
    str | None, typer.Option("--benchmark", "-b", help="Name, or name@version; by default that of the card's data set.")
]
Seconds = Annotated[
    int,
    typer.Option(
        min=1, help="Time in which a link must be fetched, and as long again in which the network must be tried."
    ),
]
_LEADERBOARD = Path("leaderboard")
_DIR = Path("submission")


@app.command(epilog="Example: pagbench submit init my-model --benchmark digits --weights my-model.pt")
def init(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to write.")] = _DIR,
    benchmark: Annotated[str | None, typer.Option("--benchmark", "-b", help="Name, or name@version.")] = None,
    weights: Annotated[str | None, typer.Option(help="State dict: .safetensors, .pt or .pth.")] = None,
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
    authors: Annotated[str | None, typer.Option(help="Who submits it.")] = None,
    license: Annotated[str | None, typer.Option(help="Of the weights, an SPDX id.")] = None,
    reference: Annotated[str | None, typer.Option(help="Paper or page.")] = None,
    trained_on_target: Annotated[
        str | None, typer.Option(help="Whether training saw a benchmark's own target: yes or no.")
    ] = None,
    embargo: Annotated[
        bool | None, typer.Option("--embargo/--no-embargo", help="Keep the weights back for now; results need no link.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="Day on which it was published or is submitted, as 2026-11-23; today by default.")
    ] = None,
    link: Annotated[
        str | None, typer.Option(help="Where the weights are published: https://…, hf:… or gdrive:…")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Ask about a model and write its submission: a card, and the weights beside it."""
    from pagbench.submissions import create

    answers: dict[str, Any] = {}
    for question in create.QUESTIONS:
        given = context.params[question.name]
        given = {True: "yes", False: "no"}.get(given, given) if isinstance(given, bool) else given
        answers[question.name] = answer(question, given, answers, yes)
    card = create.create(folder, answers)
    typer.echo(f"written: {card}  (next: pagbench submit check {folder})")


def answer(question: "Question", given: str | None, answers: dict[str, Any], yes: bool) -> Any:
    """From the option, the default, or the terminal, where a wrong answer is asked for again."""
    default = question.offer(answers)
    if given is None and yes:
        given = default
        if given is None:
            raise ContractError(f"no answer to {question.asks(answers)!r}; give --{question.name.replace('_', '-')}")
    if given is not None:
        return question.value(given)

    def parse(text: str) -> Any:
        if default is None and not text.strip():
            raise typer.BadParameter(f"{question.name}: an answer is needed")
        try:
            return question.value(text)
        except CardError as error:
            raise typer.BadParameter(str(error)) from None

    return typer.prompt(
        question.asks(answers), default=default or "", show_default=default is not None, value_proc=parse
    )


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
    from pagbench import benchmarks
    from pagbench.submissions import changes, report
    from pagbench.submissions.check import check
    from pagbench.submissions.folder import REPORT, read_card
    from pagbench.submissions.sandbox import Limits

    limits = Limits(seconds=seconds)
    if (folder is None) == (since is None):
        raise ContractError("give the submission's folder, or --since a revision")
    if folder is not None and (folder / REPORT).exists():
        raise typer.Exit(_print(report.check(folder, leaderboard, _benchmark_of_report(folder, benchmark))))
    if folder is not None:
        raise typer.Exit(_print(check(folder, leaderboard, benchmark=benchmark, limits=limits)))
    folders, findings = changes.submissions(leaderboard, since or "HEAD")
    worst = _print(findings)
    for changed in [] if worst else folders:
        typer.echo(f"submission: {printable(str(changed))}")
        label = benchmark or changed.relative_to((leaderboard / "submissions").absolute()).parts[0]
        reported = (changed / REPORT).exists()
        found = (
            report.check(changed, leaderboard, benchmarks.load(label))
            if reported
            else check(changed, leaderboard, benchmark=label, limits=limits)
        )
        if _print(found):
            worst = 1
        else:
            model = report.Report.read(changed).model if reported else read_card(changed).id
            _print_rank(changed, leaderboard, label, model)
    raise typer.Exit(worst)


def _benchmark_of_report(folder: Path, name: str | None) -> "Benchmark":
    """The benchmark that is named, or that of a report's results."""
    from pagbench import benchmarks
    from pagbench.submissions.folder import RESULTS

    labels = [label for label in benchmarks.names() if (folder / RESULTS / label).is_dir()]
    if name is None and len(labels) != 1:
        raise ContractError(f"{folder}: results on {', '.join(labels) or 'no benchmark'}; name one with --benchmark")
    return benchmarks.load(name or labels[0])


def _print_rank(folder: Path, leaderboard: Path, label: str, model: str) -> None:
    """Prints where a submission stands, or would stand if it were added."""
    from pagbench import benchmarks
    from pagbench.submissions.add import standing

    placed = standing(leaderboard, benchmarks.load(label), folder, model)
    for line in (
        placed.lines() if placed else [f"it has no results on {label} yet: measure it with pagbench submit run"]
    ):
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
    from pagbench.submissions.check import check_outside
    from pagbench.submissions.findings import refused
    from pagbench.submissions.folder import CARD, RESULTS, benchmark_of, read_card

    findings = list(check_outside(folder, leaderboard, benchmark))
    if refused(findings):
        raise typer.Exit(_print(finding for finding in findings if finding.level == "error"))
    from pagbench.running import runner

    definition = benchmark_of(read_card(folder), benchmark)
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
    from pagbench.submissions import add
    from pagbench.submissions.check import check_inside, check_outside
    from pagbench.submissions.folder import benchmark_of, home_of, read_card
    from pagbench.submissions.sandbox import Limits

    if not leaderboard.is_dir():
        raise ContractError(f"{leaderboard}: no such folder; run this in a checkout, or give --leaderboard")
    if _print(check_outside(folder, leaderboard, benchmark)):
        raise typer.Exit(1)
    card = read_card(folder)
    definition = benchmark_of(card, benchmark)
    target = home_of(leaderboard, definition, card)
    with add.staged(folder, leaderboard, definition, card) as copy:
        changed = [
            finding for finding in check_outside(copy, leaderboard, definition.label) if finding.level == "error"
        ]
        if _print(changed) or _print(check_inside(copy, definition.label, Limits(seconds=seconds))):
            raise typer.Exit(1)
        _print_rank(copy, leaderboard, definition.label, card.id)  # first: what cannot be ranked is not laid down
        add.settle(copy, target, card, definition)
    typer.echo(f"added: {target}")
    branch = f"submit-{card.id.replace('/', '-')}"
    typer.echo(
        f"next: git switch -c {branch} && git add {target} && git commit -m 'Submit {card.id} to {definition.label}' "
        f"&& git push -u origin {branch}, then open a pull request"
    )


@app.command(name="results", epilog="Example: pagbench submit results results --benchmark cifar10 --by 'Your Name'")
def report_results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Results folder that pagbench run has filled.")],
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", "-b", help="Name, or name@version; by default all that it has.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Id of a model; by default all that the registry knows.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who has measured them; by default git's user.")] = None,
    leaderboard: Leaderboard = _LEADERBOARD,
) -> None:
    """Submit results of models that the registry knows, as RobustBench's; they are self-reported until a rerun."""
    from pagbench import benchmarks, results
    from pagbench.submissions import add, report

    if not leaderboard.is_dir():
        raise ContractError(f"{leaderboard}: no such folder; run this in a checkout, or give --leaderboard")
    labels = benchmarks.names() if benchmark is None else [benchmarks.load(benchmark).label]
    chosen = [found for found in map(benchmarks.load, labels) if results.has_results(folder, found)]
    if not chosen:
        raise ContractError(f"{folder}: no results{f' on {labels[0]}' if benchmark else ''}; give the folder of a run")
    author, added, refused = by or _verifier(), list[Path](), False
    for definition in chosen:
        names, left_out = report.reportable(folder, definition, leaderboard)
        if model and (missing := sorted({*model} - {*names})):
            warn(f"error: {missing[0]}: no results on {definition.label} that can be submitted as results alone")
            refused = True
        for line in [] if model else left_out:
            warn(f"left out: {line}")
        for name in [name for name in names if not model or name in model]:
            target = report.home_of(leaderboard, definition, name)
            with add.staging(leaderboard) as copy:
                report.create(copy, folder, definition, name, author)
                if _print(report.check(copy, leaderboard, definition)):
                    refused = True
                    continue
                _print_rank(copy, leaderboard, definition.label, name)
                report.lay(copy, target)
            typer.echo(f"added: {target}")
            added.append(target)
    if added:
        typer.echo(
            f"next: git switch -c results && git add {leaderboard / 'submissions'} && git commit -m 'Report results' "
            "&& git push -u origin results, then open a pull request"
        )
    elif not refused:
        warn("nothing to submit")
    raise typer.Exit(1 if refused or not added else 0)


def _print(findings: "Iterable[Finding]") -> int:
    """Prints findings as they come; 1 if any is an error."""
    from pagbench.submissions.findings import refused

    printed = []
    for finding in findings:
        typer.echo(str(finding))
        printed.append(finding)
    return int(refused(printed))


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
    no_train: Annotated[
        bool,
        typer.Option("--no-train", help="Leave out published networks whose weights would have to be trained again."),
    ] = False,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = Device.auto,
    offline: OfflineOption = False,
) -> None:
    """Measure some images again and compare with the results; the verdict is kept beside them and shown on the board.

    Exits with 1 if results are refuted, with 2 if some cannot be measured here.
    """
    from pagbench import benchmarks
    from pagbench.submissions import verify

    results, definition = at_home(results), None if benchmark is None else benchmarks.load(benchmark)
    to_verify, refuted, skipped = [], False, False
    for target in targets or verify.find_targets(results, definition):
        try:
            to_verify += verify.find_results(target, results, definition)
        except PagbenchError as error:
            warn(f"error: {error}")
            skipped = True
    if not to_verify and not skipped:
        raise ContractError(f"{results}: no results to verify; give another --results folder or a submission's folder")
    outcomes = verify.verify(
        to_verify, seed=secrets.randbits(32) if seed is None else seed, by=by or _verifier(), samples=samples,
        tolerance=tolerance, batch_size=batch_size, device=device.value, train=not no_train,
        progress=True,
    )  # fmt: skip
    for outcome in outcomes:
        verdict = _print_outcome(outcome)
        refuted, skipped = refuted or verdict == "refuted", skipped or verdict is None
    raise typer.Exit(1 if refuted else 2 if skipped else 0)


def _print_outcome(outcome: "Outcome") -> str | None:
    """Prints one line, and returns the verdict."""
    from pagbench.submissions.findings import Finding

    record, subject = outcome.record, str(outcome.subject)
    if record is None:
        warn(str(Finding("error", subject, f"not verified: {outcome.flaw}")))
        return None
    if record.verdict == "refuted":
        typer.echo(Finding("error", subject, f"{record.summary()}: {record.reason}"))
    else:
        worst = f"{record.worst_difference:.2f} of what is tolerated, in {record.worst_column or 'none'}"
        message = f"{record.summary()}; largest difference {worst}; draw {record.seed}"
        typer.echo(Finding("ok", subject, message))
    return record.verdict


def _verifier() -> str:
    """Who runs this: the repository whose workflow it is, or the user that git knows.

    Raises:
        ContractError: neither is known.
    """
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        return f"workflow of {repository}"
    name = ""
    if git := shutil.which("git"):
        done = subprocess.run([git, "config", "user.name"], capture_output=True, text=True, check=False)
        name = done.stdout.strip()
    if not name:
        raise ContractError("nobody to name in the record; give --by NAME")
    return name
