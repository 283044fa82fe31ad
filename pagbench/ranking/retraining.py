"""How much retraining moves a statistic: moderated variances between training seeds, and draws from what they allow.

Few recipes have more than two or three networks, and a variance of two or three values is hardly known. Each is shrunk
to what all recipes of a board have in common, by the empirical Bayes estimate of Smyth (2004, Stat. Appl. Genet. Mol.
Biol. 3:3) with the bound on the degrees of freedom that limma has: no more than the board's own.
"""

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np

from pagbench.ranking.statistics import Array

_SMALLEST = 1e-3
"""Of the pooled variance: a smaller one counts as that large, since values are rounded, and seeds may even agree."""
_FEWEST = 1.0
"""Degrees of freedom of the draws at least."""
_GRID = 20_001


class Scale(NamedTuple):
    """Where the variance between seeds depends little on the value: a function, its inverse and its derivative."""

    of: Callable[[Array], Array]
    back: Callable[[Array], Array]
    slope: Callable[[float], float]


def _arcsine(share: Array) -> Array:
    return np.asarray(np.arcsin(np.sqrt(np.clip(share, 0, 1))))


_PLAIN = Scale(lambda value: value, lambda value: value, lambda _: 1.0)
_SHARE = Scale(
    _arcsine,
    lambda angle: np.sin(np.clip(angle, 0, np.pi / 2)) ** 2,
    lambda share: 1 / (2 * math.sqrt(max(share * (1 - share), 1e-12))),
)
_LENGTH = Scale(
    lambda length: np.log(np.where(length > 0, length, np.nan)),
    lambda log: np.exp(np.clip(log, -500, 500)),
    lambda length: 1 / max(length, 1e-300),
)
_SHARES = r"accuracy|tangent_energy$|confidence$|_faithful$|_recognised|^adversarial_|^pgd_"
_LENGTHS = r"^(paper_)?(on|off)_(response|sensitivity|jacobian)|^gradient_norm$|_sigma$|^nll$|_nearest$|_off_data$"
_SCALES = ((re.compile(_SHARES), _SHARE), (re.compile(_LENGTHS), _LENGTH))


def scale_of(statistic: str) -> Scale:
    """The scale of a statistic: angles for shares, logarithms for lengths, and the value itself for all others."""
    return next((scale for pattern, scale in _SCALES if pattern.search(statistic)), _PLAIN)


class SeedVariance(NamedTuple):
    """The variance of one statistic between the training seeds of a recipe, as a board knows it.

    Attributes:
        prior: s0², the variance that recipes have in common; 0 where no two networks of a recipe differ.
        prior_freedom: d0, how many degrees of freedom that is worth; may be infinite.
        freedom: degrees of freedom of all recipes together.
    """

    prior: float
    prior_freedom: float
    freedom: float

    @classmethod
    def of(cls, variances: Sequence[float], freedoms: Sequence[int]) -> Self | None:
        """Smyth's moment estimates.

        Args:
            variances: of each recipe with several networks, on the statistic's scale; those that are not finite are
                left out.
            freedoms: number of its networks, less one.

        Returns:
            None where there is no recipe with several networks.
        """
        found, degrees = np.asarray(variances, dtype=float), np.asarray(freedoms, dtype=float)
        known = np.isfinite(found)
        found, degrees = found[known], degrees[known]
        if not found.size:
            return None
        total = float(degrees.sum())
        pooled = float((degrees * found).sum() / total)
        if pooled == 0:
            return cls(0.0, math.inf, total)
        logs = np.log(np.maximum(found, _SMALLEST * pooled))
        logs -= [digamma(d / 2) - math.log(d / 2) for d in degrees]
        excess = -math.inf
        if len(logs) > 1:
            excess = float(logs.var(ddof=1)) - float(np.mean([trigamma(d / 2) for d in degrees]))
        if excess <= 0:
            return cls(pooled, math.inf, total)
        freedom = 2 * inverse_trigamma(excess)
        prior = math.exp(float(logs.mean()) + digamma(freedom / 2) - math.log(freedom / 2))
        return cls(prior, freedom, total)

    def moderated(self, variance: float, freedom: int) -> float:
        """s~²: a recipe's own variance shrunk to the prior.

        Args:
            variance: its own; of no account without degrees of freedom.
            freedom: number of its networks, less one.
        """
        if freedom == 0 or not math.isfinite(variance) or math.isinf(self.prior_freedom):
            return self.prior
        return (self.prior_freedom * self.prior + freedom * variance) / (self.prior_freedom + freedom)

    def freedom_of(self, freedom: int) -> float:
        """Degrees of freedom of s~²: no more than all recipes together have."""
        return max(_FEWEST, min(self.prior_freedom + freedom, self.freedom))


def draws(freedom: float, count: int, *, seed: int, key: str) -> Array:
    """Values of Student's t in a random order: its quantiles at (i - 1/2)/count, so that their mean is 0.

    Args:
        freedom: its degrees of freedom, from 1.
        count: how many.
        seed: of the order.
        key: names the draw; draws of other names are independent, and none depends on which others there are.
    """
    digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
    order = np.random.default_rng(int.from_bytes(digest[:16], "little")).permutation(count)
    return _quantiles(round(freedom, 6), count)[order]


@lru_cache(maxsize=256)
def _quantiles(freedom: float, count: int) -> Array:
    """With t = sqrt(d) tan(a) the density of a is that of cos(a)^(d-1), which is bounded: its integral is inverted."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, _GRID)
    density = np.cos(angles) ** (freedom - 1)
    density[[0, -1]] = 0 if freedom > 1 else 1
    steps = (density[1:] + density[:-1]) / 2
    cumulated = np.concatenate([[0.0], np.cumsum(steps)])
    found = np.interp((np.arange(count) + 0.5) / count, cumulated / cumulated[-1], angles)
    quantiles = np.sqrt(freedom) * np.tan((found - found[::-1]) / 2)
    quantiles.setflags(write=False)
    return np.asarray(quantiles)


def digamma(x: float) -> float:
    """Derivative of log Γ, for x > 0; scipy.special would take as long to import as a hundred models to read."""
    shifted = 0.0
    while x < 10:
        shifted, x = shifted - 1 / x, x + 1
    y = 1 / x**2
    return shifted + math.log(x) - 1 / (2 * x) - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y / 240)))


def trigamma(x: float) -> float:
    """Derivative of digamma, for x > 0."""
    shifted = 0.0
    while x < 10:
        shifted, x = shifted + 1 / x**2, x + 1
    y = 1 / x**2
    return shifted + 1 / x + y / 2 + y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y / 30)))


def inverse_trigamma(value: float) -> float:
    """The x > 0 whose trigamma is a value above 0."""
    low, high = 1e-8, 1 / value + 1.0  # 1/x < trigamma(x) < 1/x + 1/x²
    while trigamma(low) < value:
        low /= 2
    for _ in range(200):
        middle = math.sqrt(low * high)
        if trigamma(middle) > value:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)
