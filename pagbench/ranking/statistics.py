"""Uncertainty: percentile intervals, simultaneous rank intervals, correlations over families.

`kendall`, `student_quantile` and `binomial_tail` are not scipy's: importing scipy.stats takes longer than reading sixty
models.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REPLICATES = 2000
"""Of everything that has an interval."""
ROUNDING = 2.0**-11
"""Largest relative error of a stored value: results files keep 11 significant bits."""
_NORMAL = 1.959963984540054
"""97.5 % quantile of the normal distribution."""
_AT_ONCE = 512
"""Replicates whose pairwise differences are computed together: they stay in a core's cache."""
_LEAST_CLUSTERS = 3


class Interval(NamedTuple):
    """An estimate with its 95 % percentile interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float


def resampling_weights(n: int, *, seed: int, replicates: int = REPLICATES) -> Array:
    """How often each of n units, as training seeds or families, is drawn in each replicate; the first row is all once.

    Returns:
        Shape (1 + replicates, n), a unit's numbers side by side in memory; rows sum to n.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + replicates, n), order="F")
    weights[1:] = rng.multinomial(n, np.full(n, 1 / n), size=replicates)
    return weights


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
    scale = _floor(np.array([a[0], b[0]]))
    low, high = min(low, value - _NORMAL * scale), max(high, value + _NORMAL * scale)
    p = max(2 * (tail + 1) / (len(drawn) + 1), math.erfc(abs(value) / scale / math.sqrt(2)))
    return Difference(value, low, high, min(1.0, p))


def _floor(estimates: Array) -> float:
    """The least scale of a difference of these: how far rounding may move one of their stored values.

    It moves means over images less. But a network and its copy, in other numbers or on another machine, differ by
    nearly the same on every image, which resampling the images does not show.
    """
    return max(ROUNDING * float(np.abs(estimates).max()), float(np.finfo(np.float32).tiny))


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


def clustered_spearman(x: Array, y: Array, clusters: Sequence[str], *, given: Array | None = None) -> Interval:
    """Spearman's rank correlation with an interval over clusters, of which one after the other is left out.

    Points of one cluster (models of one training family) are alike; taking them for independent would give an interval
    that is too short. The interval is of the delete-one-cluster jackknife on Fisher's z, with Student's t of one degree
    of freedom less than there are clusters.

    Args:
        x: shape (n,); pairs that are not finite are left out.
        y: shape (n,).
        clusters: the cluster of each point.
        given: shape (n,); what x and y may both depend on: the partial correlation, of ranks, is returned then.

    Returns:
        NaN with fewer than three points or where x or y is constant. No bounds with fewer than three clusters, nor
        where the correlation is 1 or -1, or has no value, with all of them or without one.
    """
    known = np.isfinite(x) & np.isfinite(y) & (True if given is None else np.isfinite(given))
    if known.sum() < 3:
        return Interval(np.nan, np.nan, np.nan)
    names, member = np.unique(np.asarray(clusters)[known], return_inverse=True)
    counts = np.vstack([np.ones(len(member)), member != np.arange(len(names))[:, None]])
    a, b = _ranks(counts, x[known]), _ranks(counts, y[known])
    correlations = _correlations(counts, a, b)
    if given is not None:
        z = _ranks(counts, given[known])
        correlations = _partial(correlations, _correlations(counts, a, z), _correlations(counts, b, z))
    return left_out_in_turn(correlations)


def left_out_in_turn(correlations: Array) -> Interval:
    """A rank correlation with the 95 % interval of the jackknife on Fisher's z, by Student's t.

    Args:
        correlations: of all clusters, then without each of them; shape (1 + clusters,).

    Returns:
        No bounds with fewer than three clusters, nor where one of the correlations is 1, -1 or NaN.
    """
    rho, clusters = float(correlations[0]), len(correlations) - 1
    if clusters < _LEAST_CLUSTERS or not (np.abs(correlations) < 1 - 1e-9).all():
        return Interval(rho, np.nan, np.nan)
    z = np.arctanh(correlations)
    reach = student_quantile(clusters - 1) * (clusters - 1) * z[1:].std(ddof=1) / math.sqrt(clusters)
    return Interval(rho, math.tanh(z[0] - reach), math.tanh(z[0] + reach))


def student_quantile(freedom: int, *, outside: float = 0.05) -> float:
    """What |t| exceeds with a probability of `outside`, for Student's t; by bisection of its distribution function.

    Args:
        freedom: degrees of freedom, at least 1.
        outside: 1e-12 at least.

    >>> round(student_quantile(2), 6), round(student_quantile(7), 6)
    (4.302653, 2.364624)
    """
    low, high = 0.0, math.pi / 2  # of arctan(t/√freedom)
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (low, angle) if _student_inside(angle, freedom) > 1 - outside else (angle, high)
    return math.sqrt(freedom) * math.tan(low)


def _student_inside(angle: float, freedom: int) -> float:
    """Probability that |t| < √freedom tan(angle) (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    term = math.cos(angle) if freedom % 2 else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + freedom % 2, freedom - 1, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if freedom % 2 else total


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
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    a, b = (part - (counts * part).sum(axis=1, keepdims=True) / total for part in (a, b))
    scale = np.sqrt((counts * a * a).sum(axis=1) * (counts * b * b).sum(axis=1))
    return np.divide((counts * a * b).sum(axis=1), scale, out=np.full_like(scale, np.nan), where=scale > 0)


def rank_intervals(replicates: Array, *, units: int) -> NDArray[np.int64]:
    """95 % simultaneous rank intervals (Mogstad, Romano, Shaikh & Wilhelm 2024); see `better`.

    A model's best rank is 1 + the number significantly better than it, its worst M - the number significantly worse.

    Args:
        replicates: as for `better`.
        units: likewise.

    Returns:
        Shape (M, 2): best and worst rank of each model.
    """
    above = better(replicates, units=units)
    return np.stack([1 + above.sum(axis=0), len(above) - above.sum(axis=1)], axis=1)


def better(replicates: Array, *, units: int) -> NDArray[np.bool_]:
    """Which models are significantly better than which, by comparisons of all pairs at once at 95 %.

    All pairwise differences get simultaneous bands from the bootstrap distribution of the largest studentised
    deviation; no difference has a scale below that of the rounding of stored values.

    Among two thousand pairs are some whose scale is underestimated, the more so the fewer units are drawn. So the bands
    are as wide as Student's t has it at the level of the bootstrap's, which is about normal.

    Args:
        replicates: shape (1 + replicates, M), paired over models; higher is better; first row the estimates.
        units: how many of them there are to draw from: blocks of images.

    Returns:
        Shape (M, M): whether the model of the row is better than that of the column.
    """
    estimate = replicates[0][:, None] - replicates[0]
    floor = _floor(replicates[0])
    scale = np.maximum(_scales(replicates[1:]), floor)
    deviations = np.asarray((replicates[1:] - replicates[0]).T, dtype=np.float32)
    normal = np.quantile(_largest(deviations, np.asarray(1 / scale, dtype=np.float32)).astype(np.float64), 0.95)
    critical = student_quantile(max(units - 1, 1), outside=math.erfc(normal / math.sqrt(2)))
    above = estimate > np.maximum(critical * scale, _NORMAL * floor)
    np.fill_diagonal(above, False)
    return above


def _scales(drawn: Array) -> Array:
    """Standard deviation of the difference of each two models.

    Args:
        drawn: shape (replicates, M).

    Returns:
        Shape (M, M), exact to 1e-8 of the models' own standard deviations.
    """
    centred = drawn - drawn.mean(axis=0)
    products = centred.T @ centred / max(len(drawn) - 1, 1)
    own = np.diag(products)
    scales: Array = np.sqrt(np.maximum(own[:, None] + own - 2 * products, 0))
    return scales


def _largest(deviations: NDArray[np.float32], inverse: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest studentised deviation over all pairs in each replicate; a few replicates at a time are in memory.

    Args:
        deviations: of each model from its estimate, shape (M, replicates).
        inverse: one over the scale of each pair, shape (M, M).

    Returns:
        Shape (replicates,).
    """
    m, draws = deviations.shape
    largest = np.zeros(draws, dtype=np.float32)
    for start in range(0, draws, _AT_ONCE):
        part = np.ascontiguousarray(deviations[:, start : start + _AT_ONCE])
        for first in range(m - 1):
            pairs = part[first + 1 :] - part[first]
            pairs *= inverse[first, first + 1 :, None]
            np.abs(pairs, out=pairs)
            np.maximum(largest[start : start + _AT_ONCE], pairs.max(axis=0), out=largest[start : start + _AT_ONCE])
    return largest


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
