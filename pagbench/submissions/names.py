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


def look(card: ModelCard, leaderboard: Path, *, own: bool = False) -> Iterator[Finding]:
    """What is wrong with a card's id.

    Args:
        card: the submission's.
        leaderboard: whose ids are taken.
        own: whether the submission of that id in the leaderboard is this one.
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
    before = others.pop(card.id, None)
    alike = _like(card.id, (*(name for name in registry.shipped() if name != card.id), *others))
    if card.id in registry.shipped():
        yield _refused(f"{card.id!r} is the id of a published entrant; choose another")
    elif alike is not None:
        yield _refused(f"{card.id!r} can be mistaken for {alike!r}; choose another")
    elif before is not None and not own:
        yield from _update(card, ModelCard.parse(read_yaml(before), str(before)))
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


def _update(card: ModelCard, before: ModelCard) -> Iterator[Finding]:
    if card.authors != before.authors:
        yield _refused(f"{card.id!r} is a submission of {before.authors}; choose another id")
    else:
        yield Finding("ok", "id", f"{card.id} is submitted already by the same authors: this is an update")


def _refused(message: str) -> Finding:
    return Finding("error", "id", message)
