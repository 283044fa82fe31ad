"""Uncertainty: bootstrap over images, seeds and families, percentile intervals, simultaneous rank intervals.

`kendall` and `binomial_tail` are not scipy's: importing scipy.stats takes longer than reading sixty models.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REPLICATES = 2000
_BLOCK = 64
"""Pairs of models at a time: their differences stay in a core's cache."""


class Interval(NamedTuple):
    """An estimate with its 95 % percentile interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float


def resampling_weights(n: int, *, seed: int, replicates: int = REPLICATES) -> Array:
    """How often each of n images is drawn in each replicate; the first row is the sample itself.

    The same weights serve all models, so that differences between models are paired over images. They are whole
    numbers, so that shares of images come out the same on every machine, in whatever order they are summed.

    Returns:
        Shape (1 + replicates, n), an image's weights side by side in memory; rows sum to n.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + replicates, n), order="F")
    weights[1:] = rng.multinomial(n, np.full(n, 1 / n), size=replicates)
    return weights


def weighted_means(weights: Array, values: Array) -> Array:
    """Means of each column under each row of weights; images that are not scored (NaN) are left out.

    Args:
        weights: shape (replicates, n); rows sum to n, as those of `resampling_weights` do.
        values: shape (n, columns).

    Returns:
        Shape (replicates, columns), a column's means side by side in memory; NaN where no image of a replicate is
        scored.
    """
    scored = ~np.isnan(values)
    partial = ~scored.all(axis=0)
    if not partial.any():
        return np.asarray((values.T @ weights.T).T / len(values))
    means = (np.where(scored, values, 0.0).T @ weights.T).T
    means[:, ~partial] /= len(values)
    masks, mask_of = np.unique(scored[:, partial], axis=1, return_inverse=True)  # most columns lack the same images
    mass = (weights @ masks.astype(np.float64))[:, mask_of.ravel()]
    means[:, partial] = np.divide(means[:, partial], mass, out=np.full_like(mass, np.nan), where=mass > 0)
    return means


def interval(replicates: Array) -> Interval:
    """Estimate (first entry) and 95 % percentile interval (the others) of one statistic.

    >>> interval(np.array([0.5, *np.linspace(0, 1, 1001)]))
    Interval(value=0.5, low=0.025, high=0.975)
    """
    drawn = replicates[1:][np.isfinite(replicates[1:])]
    if not np.isfinite(replicates[0]) or not drawn.size:
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(replicates[0]), float(low), float(high))


def intervals(replicates: Array) -> list[Interval]:
    """`interval` of each of several statistics.

    Args:
        replicates: shape (statistics, 1 + replicates).
    """
    whole = np.asarray(np.isfinite(replicates).all(axis=1))
    bounds = np.full((2, len(replicates)), np.nan)
    bounds[:, whole] = np.quantile(replicates[whole, 1:], [0.025, 0.975], axis=1)
    return [
        Interval(float(row[0]), float(low), float(high)) if finite else interval(row)
        for row, low, high, finite in zip(replicates, *bounds, whole, strict=True)
    ]


class Difference(NamedTuple):
    """The difference of a statistic of two models, with its 95 % percentile interval; NaN where one has none."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided: twice the smaller share of replicates on either side of zero, the estimate counted as one of them."""

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def difference(a: Array, b: Array) -> Difference:
    """A - B of replicates that are paired: the same images are drawn in each.

    Args:
        a: shape (1 + replicates,), the estimate first.
        b: likewise.

    >>> difference(np.array([0.6, 0.5, 0.7]), np.array([0.1, 0.1, 0.1])).settled
    True
    """
    replicates = a - b
    value, low, high = interval(replicates)
    drawn = replicates[1:][np.isfinite(replicates[1:])]
    if not np.isfinite(value):
        return Difference(value, low, high, np.nan)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(value, low, high, min(1.0, 2 * (tail + 1) / (len(drawn) + 1)))


def over_seeds(columns: Sequence[Array], *, seed: int) -> Array:
    """Two-level bootstrap of a mean over training seeds: seeds and images are both drawn with replacement.

    All seeds of a replicate share its images, since they were measured on the same ones (the pigeonhole bootstrap,
    Owen 2007, Ann. Appl. Stat.). With one seed this is the bootstrap over images. With S seeds it underestimates the
    variance between them by the factor (S - 1)/S, as every bootstrap of S units does.

    Args:
        columns: replicates over images of one statistic, for each of S seeds, shape (1 + replicates,); the first entry
            the estimate; NaN where a seed has none.
        seed: of the drawing; not that of the images.

    Returns:
        Shape (1 + replicates,): means over the drawn seeds; NaN where none of them has an estimate.
    """
    replicates = np.stack(columns, axis=1)
    weights = resampling_weights(replicates.shape[1], seed=seed, replicates=len(replicates) - 1)
    known = np.isfinite(replicates)
    total = (weights * np.where(known, replicates, 0.0)).sum(axis=1)
    mass = (weights * known).sum(axis=1)
    return np.divide(total, mass, out=np.full_like(total, np.nan), where=mass > 0)


def clustered_spearman(
    x: Array,
    y: Array,
    clusters: Sequence[str],
    *,
    given: Array | None = None,
    seed: int,
    replicates: int = REPLICATES,
) -> Interval:
    """Spearman's rank correlation with a bootstrap interval that draws whole clusters.

    Points of one cluster (models of one training family) are alike; drawing them one by one would take them for
    independent and give an interval that is too short.

    Args:
        x: shape (n,); pairs that are not finite are left out.
        y: shape (n,).
        clusters: the cluster of each point.
        given: shape (n,); what x and y may both depend on: the partial correlation, of ranks, is returned then.
        seed: of the drawing.
        replicates: number of drawings.

    Returns:
        NaN with fewer than three points or where x or y is constant; no bounds with a single cluster.
    """
    known = np.isfinite(x) & np.isfinite(y) & (True if given is None else np.isfinite(given))
    names, member = np.unique(np.asarray(clusters)[known], return_inverse=True)
    if known.sum() < 3:
        return Interval(np.nan, np.nan, np.nan)
    counts = resampling_weights(len(names), seed=seed, replicates=replicates)[:, member]
    a, b = _ranks(counts, x[known]), _ranks(counts, y[known])
    correlations = _correlations(counts, a, b)
    if given is not None:
        z = _ranks(counts, given[known])
        correlations = _partial(correlations, _correlations(counts, a, z), _correlations(counts, b, z))
    if len(names) == 1:
        return Interval(float(correlations[0]), np.nan, np.nan)
    return interval(correlations)


def _partial(ab: Array, az: Array, bz: Array) -> Array:
    """Correlation of a and b given z; NaN where z says everything of one of them."""
    left = np.sqrt((1 - az**2) * (1 - bz**2))
    return np.divide(ab - az * bz, left, out=np.full_like(left, np.nan), where=left > 1e-9)


def _ranks(counts: Array, values: Array) -> Array:
    """Average ranks, less one half, where each value occurs so many times; one row per row of counts."""
    below = values[:, None] < values[None, :]
    ranks: Array = counts @ (below + 0.5 * (values[:, None] == values[None, :]))
    return ranks


def _correlations(counts: Array, a: Array, b: Array) -> Array:
    """Pearson correlation of each row of a and b, each column occurring so many times; NaN where one is constant."""
    total = counts.sum(axis=1, keepdims=True)
    a, b = (part - (counts * part).sum(axis=1, keepdims=True) / total for part in (a, b))
    scale = np.sqrt((counts * a * a).sum(axis=1) * (counts * b * b).sum(axis=1))
    return np.divide((counts * a * b).sum(axis=1), scale, out=np.full_like(scale, np.nan), where=scale > 0)


def rank_intervals(replicates: Array) -> NDArray[np.int64]:
    """95 % simultaneous rank intervals by pairwise comparisons (Mogstad, Romano, Shaikh & Wilhelm 2024).

    All pairwise differences get simultaneous bands from the bootstrap distribution of the largest studentised
    deviation. A model's best rank is 1 + the number significantly better than it, its worst M - the number
    significantly worse.

    Args:
        replicates: shape (1 + replicates, M), paired over models; higher is better; first row the estimates.

    Returns:
        Shape (M, 2): best and worst rank of each model.
    """
    m = replicates.shape[1]
    estimate = replicates[0][:, None] - replicates[0]
    scale, largest = _deviations(np.ascontiguousarray(replicates.T))
    critical = np.quantile(largest, 0.95)
    above = estimate > critical * scale
    np.fill_diagonal(above, False)
    return np.stack([1 + above.sum(axis=0), m - above.sum(axis=1)], axis=1)


def _deviations(replicates: Array) -> tuple[Array, Array]:
    """How far the pairwise differences of models vary; a few of the M(M - 1)/2 pairs at a time are in memory.

    Args:
        replicates: shape (M, 1 + replicates), the estimate first.

    Returns:
        Standard deviation of each difference, shape (M, M), tiny instead of 0; and the largest studentised deviation
        over all pairs in each replicate, shape (replicates,).
    """
    m, draws = replicates.shape[0], replicates.shape[1] - 1
    scale, largest = np.full((m, m), np.finfo(float).tiny), np.zeros(draws)
    for first in range(m - 1):
        for start in range(first + 1, m, _BLOCK):
            others = slice(start, min(start + _BLOCK, m))
            difference = replicates[others] - replicates[first]
            estimate, drawn = difference[:, :1], difference[:, 1:]
            spread = drawn.std(axis=1, ddof=1, keepdims=True)
            spread[spread == 0] = np.finfo(float).tiny
            drawn -= estimate
            drawn /= spread
            np.maximum(largest, np.abs(drawn, out=drawn).max(axis=0), out=largest)
            scale[first, others] = scale[others, first] = spread[:, 0]
    return scale, largest


class TieGroup(NamedTuple):
    """Where a model stands among the rules of a ranking; both count from 0.

    Attributes:
        group: its tie group. No member can be told apart from the group's first, whose rank interval theirs overlap;
            the first of the next group can.
        block: its block, which holds one or more whole groups. Every model of a block ranks behind every model of
            the blocks before, for no interval of the one overlaps one of the others.
    """

    group: int
    block: int


def tie_groups(intervals: Sequence[tuple[int, int]]) -> list[TieGroup]:
    """Tie groups and blocks of models that are in rank order.

    Rank intervals hold for all models at once, so that two that do not overlap say which of the two is better at
    that confidence. Overlapping is not transitive: two members of a group may be told apart from each other, and two of
    neighbouring groups may not. Between blocks nothing is left open.

    Args:
        intervals: best and worst rank of each model, best model first.

    >>> [tuple(model) for model in tie_groups([(1, 1), (2, 3), (2, 4), (3, 5), (4, 5)])]
    [(0, 0), (1, 1), (1, 1), (1, 1), (2, 1)]
    """
    groups: list[TieGroup] = []
    first_worst = worst = 0
    best_below = list(accumulate((low for low, _ in reversed(intervals)), min))[::-1]
    for (best, last), below in zip(intervals, best_below, strict=True):
        group, block = groups[-1] if groups else TieGroup(-1, -1)
        if best > first_worst:
            group, first_worst = group + 1, last
        if below > worst:
            block += 1
        worst = max(worst, last)
        groups.append(TieGroup(group, block))
    return groups


def kendall(x: Array, y: Array) -> float:
    """Kendall's rank correlation, tau-b; NaN where x or y is constant.

    Args:
        x: shape (n,), finite.
        y: shape (n,), finite.

    >>> round(float(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))), 12)
    0.333333333333
    """
    a, b = (np.sign(part[:, None] - part).astype(np.int8) for part in (x, y))
    untied = [np.sqrt(np.count_nonzero(signs) / 2) for signs in (a, b)]
    agreeing = float((a * b).sum()) / 2
    return agreeing / untied[0] / untied[1] if min(untied) > 0 else float("nan")


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """Probability of at least so many successes in independent trials.

    >>> round(binomial_tail(2, 3, 0.5), 12)
    0.5
    """
    if successes <= 0 or chance >= 1:
        return 1.0
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    number = np.arange(successes, trials + 1)
    ways = factorial[trials] - factorial[number] - factorial[trials - number]
    return float(np.exp(ways + number * np.log(chance) + (trials - number) * np.log1p(-chance)).sum())
