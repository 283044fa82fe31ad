"""Whether an id is free: no other looks like it to a reader, to a file system, or to pagbench."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pagbench.cards import ModelCard, read_yaml
from pagbench.models import registry, sources
from pagbench.submissions.findings import Finding

_RESERVED = ("control", "data", "huggingface", "local", "own", "results", "smoothed", "submissions", "torch", "trained")
"""First parts that mean something else: to pagbench, or in its cache folder."""
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
_LOOKALIKES = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "_": "-", ".": "-"})
_LONGEST = 100


def look(card: ModelCard, leaderboard: Path, target: Path, *, own: bool = False) -> Iterator[Finding]:
    """What is wrong with a card's id.

    Args:
        card: the submission's.
        leaderboard: whose ids are taken.
        target: the folder in the leaderboard that it belongs in.
        own: whether it lies there already.
    """
    parts = card.id.split("/")
    if len(parts) != 2 or len(card.id) > _LONGEST:
        yield _refused(f"{card.id!r}: expected <data set or group>/<name>, at most {_LONGEST} characters")
        return
    if parts[0].lower() in {*_RESERVED, *sources.SOURCES} or parts[0].lower().startswith("smoothed-"):
        yield _refused(f"{card.id!r}: ids that begin with {parts[0]!r} are reserved; begin it with its data set")
    if any(part.partition(".")[0].lower() in _DEVICES or part.endswith(".") for part in parts):
        yield _refused(f"{card.id!r}: not every system can have a file of that name; choose another")
    others = registry.submitted(leaderboard)
    before = [path for path in others.pop(card.id, []) if not (own and path.parent == target)]
    alike = _like(card.id, (*(name for name in registry.shipped() if name != card.id), *others))
    if card.id in registry.shipped():
        yield _refused(f"{card.id!r} is the id of a published model; choose another")
    elif alike is not None:
        yield _refused(f"{card.id!r} can be mistaken for {alike!r}; choose another")
    elif before:
        for path in before:
            yield from _again(card, path, target)
    else:
        yield Finding("ok", "id", f"{card.id} is in its place" if own else f"{card.id} is free")


def skeleton(name: str) -> str:
    """What is left of an id where case and lookalikes do not count; two ids with the same one are confused.

    >>> skeleton("digits/Noise-0.1") == skeleton("digits/noise_O.l")
    True
    """
    return name.casefold().translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


def _like(name: str, others: Iterable[str]) -> str | None:
    own = skeleton(name)
    return next((other for other in others if skeleton(other) == own), None)


def _again(card: ModelCard, before: Path, target: Path) -> Iterator[Finding]:
    """An id that is in use: for an older version, or on another benchmark, where a reader takes it for this network."""
    other, label = ModelCard.parse(read_yaml(before), str(before)), before.parents[2].name
    if card.authors != other.authors:
        yield _refused(f"{card.id!r} is a submission of {other.authors}; choose another id")
    elif before.parent == target:
        yield Finding("ok", "id", f"{card.id} is submitted already by the same authors: this is an update")
    elif card.functional_hash() != other.functional_hash():
        yield Finding("warning", "id", f"{card.id} is another network on {label}; submit this one there too")
    else:
        yield Finding("ok", "id", f"{card.id} is the same network on {label}, by the same authors")


def _refused(message: str) -> Finding:
    return Finding("error", "id", message)
