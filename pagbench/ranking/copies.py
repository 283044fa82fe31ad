"""Which models of a board are one network under several ids."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

_OUTPUTS = 10
"""Logits of each image that a fingerprint keeps at most, see `pagbench.models.fingerprint`."""
_LISTED = 3
"""Groups that share weights and are listed; of more the number is given, and the column has them."""
_TOLERANCE = 1e-3
"""Of the largest output. The two published networks that are most alike differ by nine times as much."""


class Network(NamedTuple):
    """What tells a network from others.

    Attributes:
        weights_sha256: of its weights.
        outputs: logits on probe images without what the classes share, divided by their norm, so that neither a
            temperature nor a term that is added to all logits makes another network of it.
    """

    weights_sha256: str
    outputs: tuple[float, ...]

    @classmethod
    def of(cls, weights_sha256: str, fingerprint: Sequence[float], classes: int) -> Self:
        """The network of a results file; without outputs where they are not of that many classes.

        Args:
            weights_sha256: as above.
            fingerprint: the first logits of each probe image, one image after the other.
            classes: of the benchmark.
        """
        width = min(_OUTPUTS, classes)
        if len(fingerprint) % width:
            return cls(weights_sha256, ())
        values = np.reshape(fingerprint, (-1, width))
        values = values / max(float(np.abs(values).max(initial=0)), 1e-300)  # whose squares may be too large
        values = (values - values.mean(1, keepdims=True)).flatten()
        return cls(weights_sha256, tuple((values / max(np.linalg.norm(values), 1e-300)).tolist()))


def find_copies(networks: Mapping[str, Network], verified: Collection[str] = ()) -> dict[str, str]:
    """Of each model that has its like: `outputs of <ids>`, `weights of <ids>`, or both, `; ` between them.

    Args:
        networks: by model.
        verified: models of which somebody has measured rows again. Nothing is said of one of them because a file that
            nobody has tried says that it is the same.
    """
    lengths = [len(known.outputs) for name, known in networks.items() if name in verified or not verified]
    usual = max(set(lengths), key=lengths.count, default=0)
    unknown = (np.nan,) * usual  # equal to nothing
    outputs = np.array([known.outputs if len(known.outputs) == usual else unknown for known in networks.values()])
    found = {}
    for index, (name, own) in enumerate(networks.items()):
        near = np.zeros(len(networks), dtype=bool)
        if usual and (size := np.abs(outputs[index]).max()) > 0:
            near = np.abs(outputs - outputs[index]).max(1) <= _TOLERANCE * size
        heard = [name not in verified or other in verified for other in networks]
        alike = [
            other
            for other, same, listened in zip(networks, near, heard, strict=True)
            if same and listened and other != name
        ]
        weights = [
            other
            for (other, its), listened in zip(networks.items(), heard, strict=True)
            if own.weights_sha256 == its.weights_sha256 != "" and listened and other not in (name, *alike)
        ]
        parts = [f"{kind} of {', '.join(ids)}" for kind, ids in (("outputs", alike), ("weights", weights)) if ids]
        if parts:
            found[name] = "; ".join(parts)
    return found


def sentences(copies: Mapping[str, str]) -> Iterator[str]:
    """A line for models of the same outputs, one for those of the same weights, and one for what single files claim."""
    named = {
        (kind, model): set(part.removeprefix(f"{kind} of ").split(", "))
        for model, same in copies.items()
        for part in same.split("; ")
        for kind in ("outputs", "weights")
        if part.startswith(kind)
    }
    for kind, line in (
        ("outputs", "The same outputs, up to a factor, hence one network under several ids"),
        ("weights", "The same weights"),
    ):
        mutual = {
            frozenset({model} | {other for other in others if model in named.get((kind, other), ())})
            for (its, model), others in named.items()
            if its == kind
        }
        claimed = [
            f"{model}, that it has the {kind} of {', '.join(sorted(alone))}"
            for (its, model), others in named.items()
            if its == kind and (alone := {other for other in others if model not in named.get((kind, other), ())})
        ]
        yield from _listed(line, sorted(" and ".join(sorted(group)) for group in mutual if len(group) > 1))
        yield from _listed("Files say that nobody has verified", claimed)


def _listed(line: str, items: Sequence[str]) -> Iterator[str]:
    """A line with the first items, if there are any."""
    if items:
        more = f"; and {len(items) - _LISTED} more (same_as)" if len(items) > _LISTED else ""
        yield f"{line}: {'; '.join(items[:_LISTED])}{more}."
