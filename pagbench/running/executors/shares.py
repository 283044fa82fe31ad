"""Shares of the samples: for units, and for runs that fill one folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pagbench.errors import ContractError

_LARGEST = 1024
CHUNK = 64
"""Units and shares begin and end at multiples of so many samples, whose targets are kept together."""


def unit_size(images: int, models: int, workers: int) -> int:
    """Samples of one unit, so that each worker gets about four units; a multiple of `CHUNK`.

    >>> unit_size(1000, 1, 2), unit_size(1000, 68, 2), unit_size(10_000, 68, 16)
    (128, 1024, 1024)
    """
    even = -(-images * models // (4 * workers))
    return max(CHUNK, min(_LARGEST, -(-even // CHUNK) * CHUNK))


@dataclass(frozen=True)
class Share:
    """The i-th of n shares of every model's samples; i counts from 1."""

    number: int = 1
    shares: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Share":
        """A share from `i/n`; everything from None.

        >>> Share.parse("2/8")
        Share(number=2, shares=8)

        Raises:
            ContractError: it is none.
        """
        if text is None:
            return cls()
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ContractError(f"shard {text!r}; expected i/n with i from 1 to n, as 1/8")
        return cls(int(found[1]), int(found[2]))

    def of(self, ids: Sequence[str]) -> Sequence[str]:
        """Its samples; shares begin at whole chunks of targets where there are enough samples for it."""
        first, last = (self._bound(len(ids), index) for index in (self.number - 1, self.number))
        return ids[first:last]

    def _bound(self, images: int, index: int) -> int:
        bound = images * index // self.shares
        return bound if index == self.shares or images < CHUNK * self.shares else bound // CHUNK * CHUNK
