"""Checks a submission from the outside in: nothing is opened before its name and size are right, nothing of it runs."""

from collections.abc import Iterator
from pathlib import Path

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, read_yaml
from pagbench.errors import CardError, PagbenchError, UnknownNameError
from pagbench.storage import assets
from pagbench.storage import downloads as fetching
from pagbench.submissions import adding, confined, folder, names, wording
from pagbench.submissions.confined import ConfinedError, Limits
from pagbench.submissions.findings import Finding, refused

DEFAULT = Limits()


def check(
    root: Path, leaderboard: Path, *, benchmark: str | None = None, limits: Limits = DEFAULT
) -> Iterator[Finding]:
    """Findings about a submission, as they are made; those after an error that bars the way are not made.

    Args:
        root: the submission's folder.
        leaderboard: the folder that it is for, whose ids are taken.
        benchmark: the one that it is for; by default its card's data set.
        limits: of the process that reads the weights and tries the network.
    """
    found = list(outside(root, leaderboard, benchmark))
    yield from found
    if not refused(found):
        yield from inside(root, benchmark, limits)


def outside(root: Path, leaderboard: Path, benchmark: str | None) -> Iterator[Finding]:
    """What can be said without opening more than the card. No torch."""
    found = list(folder.look(root))
    yield from found
    if refused(found):
        return
    try:
        card = read_card(root)
        definition = benchmark_of(card, benchmark)
    except PagbenchError as error:
        yield Finding("error", folder.CARD, str(error).removeprefix(f"{root / folder.CARD}: "))
        return
    found = [*wording.look(card), *_placed(root, leaderboard, card, definition), *_fitting(card, definition)]
    yield from found
    if not refused(found):  # the card says which files are known
        yield from folder.foreign(root, card)


def inside(root: Path, benchmark: str | None, limits: Limits) -> Iterator[Finding]:
    """What the confined process finds in the files, once what lies behind a link is here."""
    card = read_card(root)
    if not confined.COMPLETE:
        yield Finding("warning", "confinement", "only time is limited on this system; check it again on Linux")
    yield from _tried("examine", root, card, benchmark_of(card, benchmark).label, limits=limits)


def loadable(root: Path, limits: Limits = DEFAULT) -> Iterator[Finding]:
    """Whether a submission's weights may be loaded at all: its files, its card, and the weights in a confined process.

    What comes after that, as in a rerun, is a network of a known library, without limits of time and memory.
    """
    found = list(folder.look(root))
    if not refused(found):
        card = read_card(root)
        found += [*wording.look(card), *folder.foreign(root, card)]
    yield from found
    if not refused(found):
        yield from _tried("read_weights", root, card, limits=limits)


def _tried(function: str, root: Path, card: ModelCard, *arguments: str, limits: Limits) -> Iterator[Finding]:
    """What a function of `probe` finds in the confined process, once what lies behind a link is here."""
    try:
        for file in card.download or ():
            yield Finding("ok", "download", f"fetched to {fetching.get(file)}")
        called = f"pagbench.submissions.probe:{function}"
        for value in confined.lines(called, str(root.resolve()), *arguments, limits=limits):
            yield Finding(**value)
    except ConfinedError as error:
        yield Finding("error", "network", f"{error} while it was tried; a submission must be tried within these limits")
    except PagbenchError as error:
        yield Finding("error", "download", str(error))


def read_card(root: Path) -> ModelCard:
    """The card of a submission.

    Raises:
        CardError: it is missing, not plain YAML, or a field is wrong.
    """
    path = root / folder.CARD
    return ModelCard.parse(read_yaml(path), str(path))


def benchmark_of(card: ModelCard, name: str | None) -> Benchmark:
    """The benchmark that is named, or that of the card's data set.

    Raises:
        CardError: the card names no data set, or one that no benchmark has.
    """
    if name is not None:
        return benchmarks.load(name)
    try:
        return benchmarks.load(card.dataset or "")
    except UnknownNameError as error:
        raise CardError(f"field 'dataset': {error}; or name the benchmark with --benchmark") from None


def _placed(root: Path, leaderboard: Path, card: ModelCard, benchmark: Benchmark) -> Iterator[Finding]:
    """Whether its id is free; or its own, where it lies in the leaderboard already."""
    leaderboard = leaderboard.absolute()
    home, target = leaderboard / "submissions", adding.place(leaderboard, benchmark, card)
    if root.absolute() == target:
        yield from names.look(card, leaderboard, target, own=True)
    elif root.absolute().is_relative_to(home):
        message = f"{card.id!r} on {benchmark.label} belongs in {target.relative_to(home)}; `pagbench submit add`"
        yield Finding("error", "id", message)
    else:
        yield from names.look(card, leaderboard, target)


def _fitting(card: ModelCard, benchmark: Benchmark) -> Iterator[Finding]:
    if card.classes is not None and card.classes != benchmark.classes:
        yield Finding("error", "classes", f"{card.classes}, {benchmark.label} has {benchmark.classes}")
    if card.input_shape is not None and card.input_shape != benchmark.input_shape and card.resize is None:
        message = f"{card.input_shape}, {benchmark.label} has {benchmark.input_shape}; or let `resize` adapt them"
        yield Finding("error", "input_shape", message)
    judge = assets.judge(benchmark.data_name)
    if judge is not None and card.weights_sha256 == read_yaml(judge)["weights_sha256"]:
        yield Finding("error", "weights", "those of the network that judges what gradients make; it is no model")
    if card.dataset != benchmark.data_name:
        message = f"trained on {card.dataset!r}, {benchmark.label} is for networks of {benchmark.data_name!r}"
        yield Finding("warning", "dataset", f"{message}; a reader will wonder")
    if benchmark.by_paper:
        message = f"{benchmark.label} ranks by the gradient of one logit, which a term added to all logits changes"
        yield Finding("warning", "benchmark", message)
