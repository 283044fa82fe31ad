"""Kendall's tau of two rankings, tau-b, with bootstrap intervals over images and over families."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pagbench.ranking import statistics
from pagbench.ranking.statistics import Interval

Array = NDArray[np.float64]


def over_images(a: Array, b: Array) -> Interval:
    """Tau of two rankings of the same models, both computed anew from each drawing of the images.

    Args:
        a: replicates of what the one ranks by, shape (1 + replicates, models), the estimate first; finite.
        b: the same of the other, from the same drawings.

    Returns:
        NaN where one ranks all models alike.
    """
    first, second = np.triu_indices(a.shape[1], k=1)
    signs = [np.sign(part[:, first] - part[:, second]).astype(np.int8) for part in (a, b)]
    agreeing = np.einsum("rp,rp->r", signs[0], signs[1], dtype=np.int64)
    untied = [np.sqrt(np.count_nonzero(part, axis=1)) for part in signs]
    return statistics.interval(_ratio(agreeing, untied[0] * untied[1]))


def over_families(a: Array, b: Array, families: Sequence[str], *, seed: int) -> Interval:
    """Tau of two rankings of the same models, from drawings of whole families.

    A model that is drawn several times counts in each of its pairs as often, and makes none with itself.

    Args:
        a: what the one ranks by, shape (models,); finite.
        b: the same of the other.
        families: of each model.
        seed: of the drawing.

    Returns:
        NaN where one ranks all models alike; no bounds with a single family.
    """
    if not len(a):
        return Interval(np.nan, np.nan, np.nan)
    names, member = np.unique(np.asarray(families), return_inverse=True)
    counts = statistics.resampling_weights(len(names), seed=seed)[:, member]
    s, t = (np.sign(part[:, None] - part) for part in (a, b))
    agreeing, first, second = (_paired(counts, signs) for signs in (s * t, s * s, t * t))
    found = _ratio(agreeing, np.sqrt(first * second))
    return Interval(float(found[0]), np.nan, np.nan) if len(names) == 1 else statistics.interval(found)


def _paired(counts: Array, signs: Array) -> Array:
    """Sum over all pairs of models, each as often as both are drawn."""
    total: Array = ((counts @ signs) * counts).sum(axis=1)
    return total


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full(len(b), np.nan), where=b > 0)
