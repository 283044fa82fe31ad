"""Alignment over the noise levels of the target: where it is largest, and how large."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from pagbench.ranking.statistics import Array, Interval

PEAK_SIGMA = "alignment_peak_sigma"
CENSORED = "alignment_peak_sigma_censored"
"""Column of the leaderboard that says of which peaks only a bound is known."""
Censored = Literal["at least", "at most"]
_ROUNDING = 1e-6
"""Of a sigma that was read or computed; between two sigmas of a grid lie some hundredths."""
_SIGNS: dict[Censored, str] = {"at least": "≥", "at most": "≤"}


class Peak(NamedTuple):
    """The largest value of each profile, shape (n,), and the sigma at which it lies, shape (n,)."""

    value: Array
    sigma: Array


def peak(profiles: Array, sigmas: Sequence[float]) -> Peak:
    """The largest value over the grid, and the vertex of the parabola in log sigma through it and its neighbours.

    Where the largest value is at an end of the grid, or a neighbour has none, its own sigma. The largest of several
    estimates is a little larger than that of what they estimate; the profiles of one network rise and fall together
    from image to image, so that with a thousand images this is far less than an interval.

    Args:
        profiles: shape (n, sigmas); not finite where there is no value.
        sigmas: ascending.

    Returns:
        NaN for profiles without any value.

    >>> found = peak(np.array([[0.0, 0.3, 0.3], [0.1, 0.2, 0.3]]), (0.5, 1.0, 2.0))
    >>> found.value.tolist(), found.sigma.round(3).tolist()
    ([0.3, 0.3], [1.414, 2.0])
    """
    profiles = np.where(np.isfinite(profiles), profiles, np.nan)
    best, rows = np.where(np.isnan(profiles), -np.inf, profiles).argmax(axis=1), np.arange(len(profiles))
    padded = np.pad(profiles, ((0, 0), (1, 1)), constant_values=np.nan)
    before, value, after = (padded[rows, best + shift] for shift in range(3))
    x = np.pad(np.log(sigmas), 1, mode="edge")
    left, right = x[best + 1] - x[best], x[best + 2] - x[best + 1]
    from_left, from_right = right * (value - before), left * (value - after)
    bend = np.nan_to_num(from_left + from_right)
    between = np.divide(right * from_left - left * from_right, 2 * bend, out=np.zeros_like(value), where=bend > 0)
    return Peak(value, np.where(np.isnan(value), np.nan, np.exp(x[best + 1] + between)))


def censored(sigma: float, sigmas: Sequence[float] | None) -> Censored | None:
    """How the sigma of a peak is to be read: a bound at either end of the grid, for the profile may rise beyond it.

    Args:
        sigma: where the peak is; NaN where there is none.
        sigmas: of the grid, ascending; None for a benchmark without a profile.

    >>> [censored(sigma, (0.5, 1.0, 2.0)) for sigma in (0.5, 1.99, 2.0)]
    ['at most', None, 'at least']
    """
    if not sigmas:
        return None
    if np.isclose(sigma, sigmas[-1], rtol=_ROUNDING, atol=0):
        return "at least"
    return "at most" if np.isclose(sigma, sigmas[0], rtol=_ROUNDING, atol=0) else None


def bound(name: str, found: Interval, sigmas: Sequence[float] | None) -> str:
    """A column's value as every table and page writes a bound, `≥ 2.83`; empty where it is an estimate.

    Args:
        name: of the column.
        found: its value with its interval.
        sigmas: as for `censored`.

    >>> found = Interval(2.83, 2.83, 2.83)
    >>> bound("alignment_peak_sigma", found, (0.5, 2.83)), bound("alignment", found, (0.5, 2.83))
    ('≥ 2.83', '')
    """
    said = censored(found.value, sigmas) if name == PEAK_SIGMA else None
    return "" if said is None else f"{_SIGNS[said]} {found.value:g}"
