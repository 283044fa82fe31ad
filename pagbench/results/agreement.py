"""Whether the results files of a folder can be compared: the same networks behind the targets, the same labels."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pagbench.errors import ResultsError
from pagbench.results.verification import Verification

Said = TypeVar("Said", bound=Hashable)
PUBLISHED, VERIFIED, SUBMITTED = 2, 1, 0
"""How far results are believed."""


class Claims(NamedTuple):
    """What a model's results file says of what all models have in common.

    Attributes:
        name: the model's id.
        voice: how far it is believed: 2 of published results, 1 of a submission that somebody has verified, else 0.
        target_weights: hash of each network behind the targets, where it is known.
        labels: class of each of the benchmark's samples, -1 where it was not measured.
    """

    name: str
    voice: int
    target_weights: Mapping[str, str]
    labels: NDArray[np.int16]


def voice_of(*, submitted: bool, record: Verification | None) -> int:
    """How far a model's results are believed."""
    if not submitted:
        return PUBLISHED
    return VERIFIED if record is not None and record.verdict == "verified" else SUBMITTED


def odd_ones(claims: Sequence[Claims]) -> dict[str, str]:
    """Models that contradict the others, each with a line.

    Only those count that are believed most. Where they are submissions, and as many say one thing as another, nothing
    tells which of them are right, and none of these can be compared.

    Raises:
        ResultsError: two of the published results say different things, and nothing tells which of them is right.
    """
    odd: dict[str, str] = {}
    for part in sorted({part for one in claims for part in one.target_weights}):
        said = [(one, one.target_weights[part]) for one in claims if part in one.target_weights]
        odd = _contradicting(said, partial(_other_weights, part=part)) | odd
    whole = [one for one in claims if (one.labels >= 0).all()]
    if whole:
        odd = _contradicting([(one, one.labels.tobytes()) for one in whole], _other_labels) | odd
        right = [one for one in whole if one.name not in odd]
        for one in claims if right else ():
            if ((one.labels >= 0) & (one.labels != right[0].labels)).any():
                odd.setdefault(one.name, _other_labels((one.name, b""), (right[0].name, b"")))
    return odd


def _contradicting(
    said: Sequence[tuple[Claims, Said]], line: Callable[[tuple[str, Said], tuple[str, Said]], str]
) -> dict[str, str]:
    """Models that say something else than those that are believed, with a line on each and one that says otherwise."""
    voice = max(one.voice for one, _ in said)
    chosen, rival = _commonest([(one.name, value) for one, value in said if one.voice == voice])
    if rival is not None and voice == PUBLISHED:
        raise ResultsError(line(rival, chosen))
    every = [(one.name, value) for one, value in said]
    if rival is not None:
        return {name: line((name, value), chosen if value != chosen[1] else rival) for name, value in every}
    return {name: line((name, value), chosen) for name, value in every if value != chosen[1]}


def _commonest(said: Sequence[tuple[str, Said]]) -> tuple[tuple[str, Said], tuple[str, Said] | None]:
    """What most models say, with the first that does; and what as many others say, if any do."""
    first = {value: name for name, value in reversed(said)}
    counted = Counter(value for _, value in said).most_common(2)
    chosen, *rivals = [(first[value], value) for value, count in counted if count == counted[0][1]]
    return chosen, next(iter(rivals), None)


def _other_weights(one: tuple[str, str], other: tuple[str, str], part: str) -> str:
    return (
        f"{one[0]}: its {part} has weights {one[1][:12]}, that of {other[0]} {other[1][:12]}, and their numbers are "
        "not comparable; measure one of them again (--overwrite, in Python overwrite=True)"
    )


def _other_labels(one: tuple[str, bytes], other: tuple[str, bytes]) -> str:
    return f"{one[0]}: its labels are not those of {other[0]}; measure one of them again"


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
