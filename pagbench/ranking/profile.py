"""Alignment over the noise levels of the target: where it is largest, and how large."""

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, Literal, NamedTuple

import numpy as np

from pagbench.ranking.statistics import Array, Interval

PEAK_SIGMA = "alignment_peak_sigma"
CENSORED = "alignment_peak_sigma_censored"
"""Column of the leaderboard that says which peaks are at an end of the grid, so that only a bound is known."""
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
    if _is_at(sigma, sigmas[-1]):
        return "at least"
    return "at most" if _is_at(sigma, sigmas[0]) else None


def _is_at(sigma: float, end: float) -> bool:
    return bool(np.isclose(sigma, end, rtol=_ROUNDING, atol=0))


def within(found: Interval, sigmas: Sequence[float]) -> Interval:
    """The interval of a peak's sigma, no wider than the grid, and NaN at the end where nothing is known.

    A peak at the last sigma may be anywhere beyond it, so that its interval has no upper end, and one at the first has
    no lower end. The other end is a bound that holds at 95 %, unless it is at its end of the grid, too.

    Args:
        found: as the replicates have it. Those of a mean over networks may lie beyond the grid, for retraining.
        sigmas: of the grid, ascending.

    >>> grid = (0.5, 1.0, 4.0)
    >>> within(Interval(4.0, 3.34, 4.17), grid), within(Interval(3.5, 2.9, 4.1), grid)
    (Interval(value=4.0, low=3.34, high=nan), Interval(value=3.5, low=2.9, high=4.0))
    """
    said = censored(found.value, sigmas)
    low, high = (float(end) for end in np.clip(found[1:], sigmas[0], sigmas[-1]))
    if said == "at least":
        return Interval(found.value, np.nan if _is_at(low, sigmas[0]) else low, np.nan)
    if said == "at most":
        return Interval(found.value, np.nan, np.nan if _is_at(high, sigmas[-1]) else high)
    return Interval(found.value, low, high)


def columns_of(entry: Mapping[str, Any], sigmas: Sequence[float] | None) -> dict[str, Any]:
    """The columns of the leaderboard that say how far the sigma of a row's peak is known; none without a profile."""
    if PEAK_SIGMA not in entry or not sigmas:
        return {}
    found = within(Interval(*(entry[f"{PEAK_SIGMA}{part}"] for part in ("", "_low", "_high"))), sigmas)
    return {
        f"{PEAK_SIGMA}_low": found.low,
        f"{PEAK_SIGMA}_high": found.high,
        CENSORED: censored(found.value, sigmas),
    }


def bound(name: str, found: Interval, sigmas: Sequence[float] | None) -> str:
    """A column's value as every table and page writes a bound, `≥ 3.33`, which holds at 95 % after rounding, too.

    Args:
        name: of the column.
        found: its value with its interval, as `within` leaves it.
        sigmas: as for `censored`.

    Returns:
        Empty where the value is an estimate; a dash where the interval is as wide as the grid, and bounds nothing.

    >>> found, grid = Interval(4.0, 3.339, math.nan), (0.5, 1.0, 4.0)
    >>> bound("alignment_peak_sigma", found, grid), bound("alignment", found, grid)
    ('≥ 3.33', '')
    """
    said = censored(found.value, sigmas) if name == PEAK_SIGMA else None
    if said is None:
        return ""
    end, rounding = (found.low, ROUND_FLOOR) if said == "at least" else (found.high, ROUND_CEILING)
    if math.isnan(end):
        return "–"
    return f"{_SIGNS[said]} {float(Context(prec=3, rounding=rounding).create_decimal_from_float(end)):g}"
