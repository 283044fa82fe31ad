"""Whether the results files of a folder can be compared: the same networks behind the targets, the same labels."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pagbench.errors import ResultsError

Said = TypeVar("Said", bound=Hashable)


class Claims(NamedTuple):
    """What a model's results file says of what all models have in common.

    Attributes:
        name: the model's id.
        submitted: whether somebody has submitted it, beside the published results.
        target_weights: hash of each network behind the targets, where it is known.
        labels: class of each of the benchmark's samples, -1 where it was not measured.
    """

    name: str
    submitted: bool
    target_weights: Mapping[str, str]
    labels: NDArray[np.int16]


def odd_ones(claims: Sequence[Claims]) -> dict[str, str]:
    """Models that contradict the others, each with a line. Submitted ones have no voice where others are published.

    Raises:
        ResultsError: two say different things, and nothing tells which of them is right.
    """
    voters = [one for one in claims if not one.submitted] or list(claims)
    odd: dict[str, str] = {}
    for part in sorted({part for one in claims for part in one.target_weights}):
        said = [(one.name, one.target_weights[part]) for one in claims if part in one.target_weights]
        published = [pair for pair in said if pair[0] in {one.name for one in voters}]
        chosen, rival = _commonest(published or said)
        if rival is not None and published:
            raise ResultsError(_other_weights(rival, chosen, part))
        if rival is not None:  # submissions among themselves, of what no other says: none of them can be compared
            odd |= {
                name: _other_weights((name, digest), chosen if digest != chosen[1] else rival, part)
                for name, digest in said
            }
            continue
        for name, digest in said:
            if digest != chosen[1]:
                odd.setdefault(name, _other_weights((name, digest), chosen, part))
    whole = [(one.name, one.labels.tobytes()) for one in voters if (one.labels >= 0).all()]
    if whole:
        (model, content), other = _commonest(whole)
        if other is not None:
            raise ResultsError(f"{other[0]}: its labels are not those of {model}; measure one of them again")
        labels = np.frombuffer(content, np.int16)
        for one in claims:
            if (wrong := np.count_nonzero((one.labels >= 0) & (one.labels != labels))) > 0:
                odd.setdefault(one.name, f"{one.name}: {wrong} labels are not those of {model}; measure it again")
    return odd


def _commonest(said: Sequence[tuple[str, Said]]) -> tuple[tuple[str, Said], tuple[str, Said] | None]:
    """What most models say, with the first that does; and what as many others say, if any do."""
    first = {value: name for name, value in reversed(said)}
    counted = Counter(value for _, value in said).most_common(2)
    chosen, *rivals = [(first[value], value) for value, count in counted if count == counted[0][1]]
    return chosen, next(iter(rivals), None)


def _other_weights(one: tuple[str, str], other: tuple[str, str], part: str) -> str:
    return (
        f"{one[0]}: its {part} has weights {one[1][:12]}, that of {other[0]} {other[1][:12]}, and their numbers are "
        "not comparable; measure one of them again with --overwrite"
    )


def check_same_targets(models: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Refuses models that were measured against different networks, as against autoencoders of two machines.

    Args:
        models: id and `Provenance.target_weights` of each.

    Raises:
        ResultsError: names the first two that differ.
    """
    first: dict[str, tuple[str, str]] = {}
    for name, weights in models:
        for part, digest in weights.items():
            other = first.setdefault(part, (name, digest))
            if digest != other[1]:
                raise ResultsError(_other_weights((name, digest), other, part))
