"""What users type for ids of models: patterns, as `robustbench/cifar10/L2/*`, and the ends of ids alone. No torch."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pagbench.errors import ContractError, UnknownNameError

LISTED = "see pagbench list models"
"""What to do where no id is close."""
_MOST_LISTED = 12


def is_pattern(name: str) -> bool:
    """Whether a name has marks of a pattern: `*`, `?` or `[`."""
    return not {*"*?["}.isdisjoint(name)


def matching(pattern: str, ids: Collection[str]) -> list[str]:
    """The ids that a pattern matches, in their order; `*` matches `/`, too.

    >>> matching("digits/*-0.6", ["digits/noise-0.6", "digits/standard"])
    ['digits/noise-0.6']

    Raises:
        UnknownNameError: there are none; the message has patterns that match some.
    """
    found = [name for name in ids if fnmatchcase(name, pattern)]
    if not found:
        raise UnknownNameError("models", pattern, {f"{name.rpartition('/')[0]}/*" for name in ids}, LISTED)
    return found


def ending(name: str, ids: Iterable[str], dataset: str | None = None) -> list[str]:
    """The ids whose last part is this name, in any case; of several those of a data set, where there are such.

    >>> ending("standard", ["digits/standard", "sphere/standard"], "sphere")
    ['sphere/standard']
    """
    found = [other for other in ids if other.rpartition("/")[2].lower() == name.lower()]
    return [other for other in found if dataset in other.split("/")[:-1]] or found


def only(name: str, found: Collection[str]) -> str:
    """The one id that a name stands for.

    Raises:
        ContractError: there are several.
    """
    if len(found) > 1:
        listed = [*sorted(found)[:_MOST_LISTED], *(["…"] if len(found) > _MOST_LISTED else [])]
        raise ContractError(f"{name!r} is the end of {len(found)} ids; name one of them: {', '.join(listed)}")
    return next(iter(found))


def known(name: str, ids: Collection[str]) -> str:
    """The id among these that is a name, or the only one that ends with it.

    >>> known("noise-0.6", ["digits/noise-0.6", "digits/standard"])
    'digits/noise-0.6'

    Raises:
        UnknownNameError: there is none; the message has the closest ids.
        ContractError: several ids have this end.
    """
    if name in ids:
        return name
    if found := ending(name, ids):
        return only(name, found)
    raise UnknownNameError("model", name, ids)


def close(name: str, ids: Iterable[str]) -> set[str]:
    """Ids that somebody may mean who has typed the end of one wrongly."""
    ends: dict[str, set[str]] = {}
    for other in ids:
        ends.setdefault(other.rpartition("/")[2].lower(), set()).add(other)
    return set().union(*(ends[end] for end in get_close_matches(name.lower(), ends, n=3, cutoff=0.75)))
