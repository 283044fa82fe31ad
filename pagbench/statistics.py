"""Uncertainty: paired bootstrap over images, percentile intervals, simultaneous rank intervals."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REPLICATES = 2000


class Interval(NamedTuple):
    """An estimate with its 95 % percentile interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float


def resampling_weights(n: int, *, seed: int, replicates: int = REPLICATES) -> Array:
    """How often each of n images is drawn, over n, in each replicate; the first row is the sample itself.

    The same weights serve all entrants, so that differences between entrants are paired over images.

    Returns:
        Shape (1 + replicates, n); rows sum to 1.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=replicates)
    return np.vstack([np.ones(n), drawn]) / n


def weighted_means(weights: Array, values: Array) -> Array:
    """Means of each column under each row of weights; images that are not scored (NaN) are left out.

    Args:
        weights: shape (replicates, n).
        values: shape (n, columns).

    Returns:
        Shape (replicates, columns); NaN where no image of a replicate is scored.
    """
    scored = ~np.isnan(values)
    total = weights @ np.where(scored, values, 0.0)
    mass = weights @ scored.astype(np.float64)
    return np.divide(total, mass, out=np.full_like(total, np.nan), where=mass > 0)


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


def rank_intervals(replicates: Array) -> NDArray[np.int64]:
    """95 % simultaneous rank intervals by pairwise comparisons (Mogstad, Romano, Shaikh & Wilhelm 2024).

    All pairwise differences get simultaneous bands from the bootstrap distribution of the largest studentised
    deviation. An entrant's best rank is 1 + the number significantly better than it, its worst M - the number
    significantly worse.

    Args:
        replicates: shape (1 + replicates, M), paired over entrants; higher is better; first row the estimates.

    Returns:
        Shape (M, 2): best and worst rank of each entrant.
    """
    m = replicates.shape[1]
    i, j = np.triu_indices(m, k=1)
    significant = np.zeros((m, m), dtype=bool)
    if len(i):
        difference = replicates[:, i] - replicates[:, j]
        estimate, drawn = difference[0], difference[1:]
        scale = drawn.std(axis=0, ddof=1)
        scale[scale == 0] = np.finfo(float).tiny
        critical = np.quantile(np.max(np.abs(drawn - estimate) / scale, axis=1), 0.95)
        significant[i, j] = estimate > critical * scale
        significant[j, i] = -estimate > critical * scale
    return np.stack([1 + significant.sum(axis=0), m - significant.sum(axis=1)], axis=1)
