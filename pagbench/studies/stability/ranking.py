"""From per-sample tables to rankings: what moves when one choice does."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import columns
from pagbench.ranking import regimes, statistics
from pagbench.ranking.regimes import Anchored
from pagbench.ranking.statistics import Interval
from pagbench.studies.stability import rule, taus
from pagbench.studies.stability.replicates import Measured, Replicated, replicated
from pagbench.studies.stability.report import Moved, Outcome, Tau
from pagbench.studies.stability.ways import Choice, Setting

Array = NDArray[np.float64]
_MIN_SCORED = 0.95
"""Share of the replicates that a model's value is in, or it is compared with none."""


def moved(choice: Choice, measured: Measured, own_steps: tuple[Choice, Setting] | None) -> Moved:
    """A choice's rankings, its published setting's first.

    Args:
        choice: whose settings were all measured.
        measured: tables and rows.
        own_steps: the choice and setting that has the published responses; None without a manifold.
    """
    found = [replicated(choice, setting, measured, own_steps) for setting in choice.settings]
    intervals = _rank_intervals(found[0].values, choice.ranking, measured)
    outcomes = tuple(
        _outcome(setting, one, found[0], intervals, choice, measured)
        for setting, one in zip(choice.settings, found, strict=True)
    )
    return Moved(
        name=choice.name,
        summary=choice.summary,
        ranking=choice.ranking,
        rank_intervals=tuple(intervals.get(name) for name in measured.names),
        outcomes=outcomes,
    )


def _better_up(values: Array, ranking: str) -> Array:
    """Values of which more is better."""
    described = {column.name: column.higher_is_better for column in columns.BOARD_COLUMNS}
    return -values if described[ranking] is False else values


def _rank_intervals(values: Array, ranking: str, measured: Measured) -> dict[str, tuple[int, int]]:
    """Simultaneous 95 % rank intervals of the ranked models that have a value."""
    places = _known(values, measured)
    known = _better_up(values[:, places], ranking)
    found = statistics.rank_intervals(known[np.isfinite(known).all(axis=1)])
    return {measured.ranked[p]: (int(low), int(high)) for p, (low, high) in zip(places, found, strict=True)}


def _known(values: Array, measured: Measured) -> list[int]:
    """Places of the ranked models that have a value, and in nearly all replicates."""
    scored = np.isfinite(values)
    return [p for p in range(len(measured.ranked)) if scored[0, p] and scored[:, p].mean() > _MIN_SCORED]


def _outcome(
    setting: Setting,
    one: Replicated,
    base: Replicated,
    published: Mapping[str, tuple[int, int]],
    choice: Choice,
    measured: Measured,
) -> Outcome:
    both = [p for p in _known(base.values, measured) if p in set(_known(one.values, measured))]
    values = _better_up(one.values, choice.ranking)
    tau, families = _taus(values[:, both], _better_up(base.values, choice.ranking)[:, both], both, measured)
    own = _rank_intervals(one.values, choice.ranking, measured)
    ranks = _ranks(values[0], measured)
    names = [measured.ranked[place] for place in both]
    is_published = setting is choice.published
    return Outcome(
        name=setting.name,
        images=one.images,
        values=tuple(one.values[0].tolist()),
        chances=None if one.chances is None else tuple(one.chances[0].tolist()),
        ranks=tuple(ranks.get(name) for name in measured.names),
        regimes=None if one.judged is None or not choice.moves_regimes else _regimes(one.judged, measured),
        unscored=one.unscored,
        tau=Tau(value=tau.value, low=tau.low, high=tau.high, families_low=families.low, families_high=families.high),
        moved=_beyond(ranks, published),
        first=_first(ranks),
        overturns=() if is_published else rule.clauses(tau, *([found[n] for n in names] for found in (published, own))),
    )


def _taus(a: Array, b: Array, places: Sequence[int], measured: Measured) -> tuple[Interval, Interval]:
    families = [measured.families[measured.ranked[place]] for place in places]
    whole = (np.isfinite(a) & np.isfinite(b)).all(axis=1)
    return taus.over_images(a[whole], b[whole]), taus.over_families(a[0], b[0], families, seed=measured.benchmark.seed)


def _ranks(values: Array, measured: Measured) -> dict[str, int]:
    """1 for the best; equal values have the better rank."""
    ranked = pd.Series(values[: len(measured.ranked)], index=measured.ranked).dropna()
    return {str(name): int(rank) for name, rank in ranked.rank(ascending=False, method="min").items()}


def _first(ranks: Mapping[str, int]) -> str | None:
    """Whose rank is 1; None where several share it, or none has a value."""
    best = [name for name, rank in ranks.items() if rank == 1]
    return best[0] if len(best) == 1 else None


def _beyond(ranks: Mapping[str, int], published: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Models outside their published rank intervals, by how far; of tied ones no rank that they share is inside."""
    tied = Counter(ranks.values())
    far = {
        name: max(published[name][0] - (rank + tied[rank] - 1), rank - published[name][1])
        for name, rank in ranks.items()
        if name in published
    }
    return tuple(sorted((name for name, by in far.items() if by > 0), key=lambda name: (-far[name], ranks[name])))


def _regimes(judged: tuple[Array, Array, Array], measured: Measured) -> tuple[str | None, ...]:
    """Regime of each model between the anchors; None where none is judged."""
    benchmark, names = measured.benchmark, measured.names
    anchors = (benchmark.reference, benchmark.bayes)
    if benchmark.thresholds is None or not all(anchor in names for anchor in anchors):
        return (None,) * len(names)
    if any(np.isnan(judged[0][:, names.index(str(anchor))]).all() for anchor in anchors):
        return (None,) * len(names)

    def of(place: int) -> Anchored:
        return Anchored(*(values[1:, place] for values in judged))

    reference, bayes = (of(names.index(str(anchor))) for anchor in anchors)
    found = [regimes.judge(of(place), reference, bayes, benchmark.thresholds) for place in range(len(names))]
    return tuple(None if verdict is None else verdict.regime for verdict in found)
