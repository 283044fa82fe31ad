"""Which ranks are told apart: groups of models by their rank intervals."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


class Standing(NamedTuple):
    """Where a model stands among the rules of a ranking; both count from 0.

    Attributes:
        group: its tie group. No member can be told apart from the group's first, whose rank interval theirs overlap;
            the first of the next group can.
        block: its block, which holds one or more whole groups. Every model of a block ranks behind every model of
            the blocks before, for no interval of the one overlaps one of the others.
    """

    group: int
    block: int


def places(intervals: Sequence[tuple[int, int]]) -> list[Standing]:
    """Tie groups and blocks of models that are in rank order.

    Rank intervals hold for all models at once, so that two that do not overlap say which of the two is better at
    that confidence. Overlapping is not transitive: two members of a group may be told apart from each other, and two of
    neighbouring groups may not. Between blocks nothing is left open.

    Args:
        intervals: best and worst rank of each model, best model first.

    >>> places([(1, 1), (2, 3), (2, 4), (3, 5), (4, 5)])
    [Standing(group=0, block=0), Standing(group=1, block=1), Standing(group=1, block=1), Standing(group=1, block=1), \
Standing(group=2, block=1)]
    """
    found: list[Standing] = []
    first_worst = worst = 0
    best_below = list(accumulate((low for low, _ in reversed(intervals)), min))[::-1]
    for (best, last), below in zip(intervals, best_below, strict=True):
        group, block = found[-1] if found else Standing(-1, -1)
        if best > first_worst:
            group, first_worst = group + 1, last
        if below > worst:
            block += 1
        worst = max(worst, last)
        found.append(Standing(group, block))
    return found
