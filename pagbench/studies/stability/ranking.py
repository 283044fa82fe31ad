"""From replicates to rankings: what moves when one factor does, and whether that overturns the published ranking."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import columns
from pagbench.ranking import regimes, resampling, statistics
from pagbench.ranking.regimes import Anchored
from pagbench.ranking.statistics import Interval
from pagbench.studies.stability.factors import Factor, Level
from pagbench.studies.stability.replicates import Measured, Replicated, replicated
from pagbench.studies.stability.report import FIRST, HIGHEST, ORDER, THRESHOLD, FactorOutcomes, Outcome, Tau

Array = NDArray[np.float64]
_MIN_SCORED = 0.95
"""Share of the replicates that a model's value is in, or it is compared with none."""


def factor_outcomes(factor: Factor, measured: Measured, own_steps: tuple[Factor, Level] | None) -> FactorOutcomes:
    """A factor's rankings, its published level's first.

    Args:
        factor: whose levels were all measured.
        measured: tables and rows.
        own_steps: the factor and level that has the published responses; None without a manifold.
    """
    levels = [replicated(factor, level, measured, own_steps) for level in factor.levels]
    intervals = _rank_intervals(levels[0], factor.ranking, measured)
    outcomes = tuple(
        _outcome(level, values, levels[0], intervals, factor, measured)
        for level, values in zip(factor.levels, levels, strict=True)
    )
    return FactorOutcomes(
        name=factor.name,
        summary=factor.summary,
        ranking=factor.ranking,
        rank_intervals=tuple(intervals.get(name) for name in measured.names),
        outcomes=outcomes,
    )


def _outcome(
    level: Level,
    moved: Replicated,
    base: Replicated,
    published: Mapping[str, tuple[int, int]],
    factor: Factor,
    measured: Measured,
) -> Outcome:
    both = [p for p in _scored(base.values, measured) if p in set(_scored(moved.values, measured))]
    values = _better_up(moved.values, factor.ranking)
    a, b = values[:, both], _better_up(base.values, factor.ranking)[:, both]
    whole = (np.isfinite(a) & np.isfinite(b)).all(axis=1)
    drawn = slice(1 + statistics.REPLICATES)
    tau = tau_over_images(a[whole][drawn], b[whole][drawn])
    families = tau_over_families(a[0], b[0], [measured.models[p].family for p in both])
    own = _rank_intervals(moved, factor.ranking, measured)
    ranks = _ranks(values[0], measured)
    first = [name for name, rank in ranks.items() if rank == 1]
    names = [measured.names[p] for p in both]
    clauses = overturning_clauses(tau, [published[name] for name in names], [own[name] for name in names])
    return Outcome(
        name=level.name,
        images=moved.images,
        values=tuple(moved.values[0].tolist()),
        chances=None if moved.chances is None else tuple(moved.chances[0].tolist()),
        ranks=tuple(ranks.get(name) for name in measured.names),
        regimes=None if moved.judged is None or not factor.moves_regimes else _regimes(moved.judged, measured),
        unscored=moved.unscored,
        tau=Tau(value=tau.value, low=tau.low, high=tau.high, families_low=families.low, families_high=families.high),
        moved=_beyond(ranks, published),
        first=first[0] if len(first) == 1 else None,
        overturns=() if level is factor.published else clauses,
    )


def overturning_clauses(
    tau: Interval, published: Sequence[tuple[int, int]], moved: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """By which clauses of `report.RULE` a level overturns a ranking; empty where it does not.

    Args:
        tau: of the two rankings, over images.
        published: simultaneous 95 % rank interval of each model; best rank, worst rank.
        moved: the same under the level, in the same order. The first places are those of the best ranks.

    A tau beyond `report.HIGHEST` has no interval and stands for itself.

    >>> overturning_clauses(Interval(0.9, 0.8, 0.95), [(1, 1), (2, 3), (2, 3)], [(2, 3), (2, 3), (1, 1)])
    ('first',)
    >>> overturning_clauses(Interval(0.9, 0.8, 0.95), [(1, 2), (1, 2), (3, 3)], [(1, 2), (1, 2), (3, 3)])
    ()
    >>> overturning_clauses(Interval(0.4, 0.2, 0.6), [(1, 2), (1, 2)], [(1, 2), (1, 2)])  # the interval reaches .5
    ()
    >>> overturning_clauses(Interval(0.9, 0.8, 0.95), [(2, 3), (2, 3)], [(1, 2), (1, 2)])  # the first has no value
    ()
    """
    order = [ORDER] if tau.value < THRESHOLD and not tau.high >= THRESHOLD else []
    leaders = [{index for index, (best, _) in enumerate(ranks) if best == 1} for ranks in (published, moved)]
    return (*order, *([FIRST] if all(leaders) and leaders[0].isdisjoint(leaders[1]) else []))


def _better_up(values: Array, ranking: str) -> Array:
    """Values of which more is better."""
    better = {column.name: column.higher_is_better for column in columns.BOARD_COLUMNS}
    return -values if better[ranking] is False else values


def _scored(values: Array, measured: Measured) -> list[int]:
    """Indices of the ranked models that have a value, and in nearly all replicates."""
    scored = np.isfinite(values)
    return [p for p in range(len(measured.ranked)) if scored[0, p] and scored[:, p].mean() > _MIN_SCORED]


def _rank_intervals(level: Replicated, ranking: str, measured: Measured) -> dict[str, tuple[int, int]]:
    """Simultaneous 95 % rank intervals of the ranked models that have a value."""
    indices = _scored(level.values, measured)
    known = _better_up(level.values[:, indices], ranking)
    units = resampling.count(level.images, measured.benchmark.classes)
    intervals = statistics.rank_intervals(known[np.isfinite(known).all(axis=1)], units=units)
    return {measured.names[p]: (int(low), int(high)) for p, (low, high) in zip(indices, intervals, strict=True)}


def _ranks(values: Array, measured: Measured) -> dict[str, int]:
    """1 for the best; equal values have the better rank."""
    count = len(measured.ranked)
    ranked = pd.Series(values[:count], index=measured.names[:count]).dropna()
    return {str(name): int(rank) for name, rank in ranked.rank(ascending=False, method="min").items()}


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
    models = [Anchored(*(values[1:, index] for values in judged)) for index in range(len(names))]
    reference, bayes = (models[names.index(str(anchor))] for anchor in anchors)
    verdicts = [regimes.judge(model, reference, bayes, benchmark.thresholds) for model in models]
    return tuple(None if verdict is None else verdict.regime for verdict in verdicts)


# scipy.stats.kendalltau takes one pair of rankings and no weights: a thousand replicates would take minutes.


def tau_over_images(a: Array, b: Array) -> Interval:
    """Kendall's tau-b of two rankings of the same models, both computed anew from each drawing of the images.

    Args:
        a: replicates of what the one ranks by, shape (1 + replicates, models), the estimate first; finite.
        b: the same of the other, from the same drawings.

    Returns:
        With its 95 % interval, but for one beyond `report.HIGHEST`; NaN where one ranks all models alike.
    """
    first, second = np.triu_indices(a.shape[1], k=1)
    signs = [np.sign(values[:, first] - values[:, second]).astype(np.int8) for values in (a, b)]
    agreeing = np.einsum("rp,rp->r", signs[0], signs[1], dtype=np.int64)
    untied = [np.sqrt(np.count_nonzero(sign, axis=1)) for sign in signs]
    return _bounded(statistics.interval(_ratio(agreeing, untied[0] * untied[1])))


def _bounded(tau: Interval) -> Interval:
    """Without bounds where there is no room between tau and 1, or -1, for the noise that a bootstrap adds."""
    return tau._replace(low=np.nan, high=np.nan) if abs(tau.value) > HIGHEST else tau


def tau_over_families(a: Array, b: Array, families: Sequence[str]) -> Interval:
    """Kendall's tau-b of two rankings of the same models, with an interval over families, one left out after the other.

    Args:
        a: what the one ranks by, shape (models,); finite.
        b: the same of the other.
        families: of each model.

    Returns:
        With its 95 % interval, but for one beyond `report.HIGHEST` and fewer than three families; NaN where one ranks
        all models alike.
    """
    if not len(a):
        return Interval(np.nan, np.nan, np.nan)
    members = np.asarray(families)
    kept = [np.ones(len(a), dtype=bool), *(members != name for name in np.unique(members))]
    return _bounded(statistics.left_out_in_turn(np.array([statistics.kendall(a[part], b[part]) for part in kept])))


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0)
