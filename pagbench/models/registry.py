"""Finds cards: the shipped ones by id, anyone's own by path. No torch."""

from difflib import get_close_matches
from functools import cache
from pathlib import Path

from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, read_yaml
from pagbench.errors import CardError, UnknownNameError
from pagbench.models import factories, sources, wrapping

_PACKAGE = Path(__file__).parent.parent
_FOLDERS = (_PACKAGE / "models" / "cards", _PACKAGE.parent / "leaderboard" / "models")
"""The package's own cards, and in a checkout those of the published leaderboard, which are too large to install."""


LEADERBOARD = _PACKAGE.parent / "leaderboard"
"""The published one; in a checkout only."""


@cache
def shipped() -> dict[str, Path]:
    """Cards by id: the package's own, and the published leaderboard's."""
    found: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise CardError(f"{path}: the id {name!r} is already that of {found[name]}; rename one")
            found[name] = path
    return found


def submitted(leaderboard: Path) -> dict[str, list[Path]]:
    """Cards of a leaderboard's submissions, by id: `submissions/<name>@<version>/<id>/model.yaml`.

    One that was submitted to several benchmarks has a card in each; the first of them is found by its id.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted((leaderboard / "submissions").glob("*/*/*/model.yaml")):
        found.setdefault(f"{path.parent.parent.name}/{path.parent.name}", []).append(path)
    return found


@cache
def _known() -> dict[str, Path]:
    return {name: paths[0] for name, paths in submitted(LEADERBOARD).items()} | shipped()


def _order(name: str) -> tuple[str, bool, str, float]:
    """Data set, then the unregularised network, then families by strength."""
    card, _ = find(name)
    return name.partition("/")[0], card.family != "standard", card.family, card.strength or 0.0


@cache
def names() -> tuple[str, ...]:
    """Ids of all shipped and submitted cards: by data set, families together, by strength."""
    return tuple(sorted(_known(), key=_order))


@cache
def _read(path: Path) -> ModelCard:
    return ModelCard.parse(read_yaml(path), str(path))


def find(model: str) -> tuple[ModelCard, Path | None]:
    """The card of a shipped, submitted or third-party source's id, or of a YAML file; `smoothed:...` around any.

    The second value says where the card lies, for its weights are beside it; None for a source's.

    >>> find("digits/noise-0.6")[0].training_command
    'pagbench train digits --family noise --strength 0.6 --seed 0 --epochs 40'

    Raises:
        UnknownNameError: neither a shipped id nor a file; the message has the closest ids.
        CardError: the file is not a valid card, or a shipped card's id is not its place.
    """
    smoothed = wrapping.parse(model)
    if smoothed is not None:
        base, path = find(smoothed.model)
        return wrapping.card(base, smoothed), path
    path = _known().get(model)
    source = sources.of(model) if path is None else None
    if source is not None:
        return source.card(model), None
    if path is None and not model.endswith((".yaml", ".yml")):
        if Path(model).is_file():
            raise CardError(
                f"{model}: a file, but no card (.yaml); for a checkpoint give --architecture module:function, "
                "for a function of a Python file its name after a colon"
            )
        if factories.is_named(model):
            raise CardError(f"{model}: a function builds it, so that its card depends on the benchmark; name one")
        prefix, _, name = model.partition("/")
        meant = {f"{source}/{name}" for source in get_close_matches(prefix, sources.SOURCES, n=1, cutoff=0.75)}
        packaged = {point.name for point in factories.installed()}
        raise UnknownNameError("model", model, {*_known(), *packaged, *meant})
    if path is None:
        path = Path(model)
        return ModelCard.parse(read_yaml(path), str(path)), path
    card = _read(path)
    if card.id != model:
        raise CardError(f"{path}: field 'id' is {card.id!r}, expected {model!r}, the card's place")
    return card, path


_OF_BAYES = ("bayes", "sign-flipped")
"""Controls that are made of the Bayes classifier."""


def models_of(benchmark: Benchmark) -> list[str]:
    """Ids of the shipped models that a benchmark is for: those trained on its data, then the controls."""
    trained = [name for name in names() if find(name)[0].dataset == benchmark.data_name]
    cards = [find(name)[0] for name in names()]
    controls = [card for card in cards if card.control and (benchmark.bayes or card.architecture not in _OF_BAYES)]
    return trained + [card.id for card in controls]
