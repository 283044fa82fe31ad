"""Finds cards: the shipped ones by id, anyone's own by path. No torch."""

from functools import cache
from pathlib import Path

from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard, read_yaml
from pagbench.errors import CardError, UnknownNameError

_FOLDER = Path(__file__).parent / "cards"


@cache
def _shipped() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(_FOLDER.rglob("*.yaml")):
        name = path.relative_to(_FOLDER).with_suffix("").as_posix()
        found[name] = path
    return found


def _number(name: str) -> tuple[str, float]:
    stem, _, last = name.rpartition("-")
    try:
        return stem, float(last)
    except ValueError:
        return name, 0.0


def names() -> list[str]:
    """Ids of all shipped cards, families together, by strength."""
    return sorted(_shipped(), key=_number)


def find(entrant: str) -> tuple[ModelCard, Path]:
    """The card of a shipped id or of a YAML file, and where it lies (weights are beside it).

    Raises:
        UnknownNameError: neither a shipped id nor a file; the message has the closest ids.
        CardError: the file is not a valid card, or a shipped card's id is not its path.
    """
    path = _shipped().get(entrant)
    if path is None and not entrant.endswith((".yaml", ".yml")):
        raise UnknownNameError("entrant", entrant, names())
    path = path or Path(entrant)
    card = ModelCard.parse(read_yaml(path), str(path))
    if entrant in _shipped() and card.id != entrant:
        raise CardError(f"{path}: field 'id' is {card.id!r}, expected {entrant!r}, the card's place")
    return card, path


def entrants_of(benchmark: Benchmark) -> list[str]:
    """Ids of the shipped entrants that a benchmark is for: those trained on its data, then the controls."""
    trained = [name for name in names() if find(name)[0].dataset == benchmark.name]
    return trained + [name for name in names() if find(name)[0].control]
