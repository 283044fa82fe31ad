"""When a choice overturns a ranking: the one rule, for reports, pages and tables."""

from collections.abc import Sequence

from pagbench.ranking.statistics import Interval

THRESHOLD = 0.5
"""Kendall's tau at which a quarter of all pairs of models stand in another order."""
ORDER, FIRST = "order", "first"
SAID = (
    "A setting overturns a ranking if surely more than a quarter of all pairs of models change their order "
    f"(Kendall's tau and its whole 95 % interval lie below {THRESHOLD:g}), or if another model is surely first (none "
    "whose 95 % rank interval contains 1 in the one ranking has one that does in the other)."
)


def clauses(tau: Interval, published: Sequence[tuple[int, int]], moved: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """By which clauses a setting overturns a ranking; none where it does not.

    Args:
        tau: of the two rankings, over images.
        published: simultaneous 95 % rank interval of each model; best rank, worst rank.
        moved: the same under the setting, in the same order. The first places are those of the best ranks.

    A bootstrap adds noise to both rankings, so that the interval of a high tau lies too low, and may miss tau itself.

    >>> clauses(Interval(0.9, 0.8, 0.95), [(1, 1), (2, 3), (2, 3)], [(2, 3), (2, 3), (1, 1)])
    ('first',)
    >>> clauses(Interval(0.9, 0.8, 0.95), [(1, 2), (1, 2), (3, 3)], [(1, 2), (1, 2), (3, 3)])
    ()
    >>> clauses(Interval(0.9, 0.8, 0.95), [(2, 3), (2, 3)], [(1, 2), (1, 2)])  # the first has no value there
    ()
    """
    found = [ORDER] if max(tau.value, tau.high) < THRESHOLD else []
    leaders = [{place for place, (best, _) in enumerate(ranks) if best == 1} for ranks in (published, moved)]
    return (*found, *([FIRST] if all(leaders) and leaders[0].isdisjoint(leaders[1]) else []))
