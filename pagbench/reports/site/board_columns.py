"""The columns of a leaderboard as pages describe and write them: definitions, digits, levels to compare with."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.columns import Column
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import rendering
from pagbench.studies import baselines
from pagbench.studies.baselines import Baseline
from pagbench.studies.models import Study

KEYS = columns.MAIN
"""Columns that a page shows first, and `pagbench compare`; those that a benchmark has."""
CARD_COLUMNS = (
    Column("architecture", "", None, "Architecture of the network, as its card says.", "architecture"),
    Column("dataset", "", None, "The data set that it was trained on, as its card says.", "trained on"),
    Column("date", "", None, "Day on which it was published or submitted, as its card says.", "date"),
)  # fmt: skip
"""What a card says of a model, and the board does not."""
_MAX_DECIMALS = 6


class Described(NamedTuple):
    """A column of the leaderboard, and what its values are held against.

    Attributes:
        column: name, unit, direction and definition.
        chance: what guessing, or a random direction, gives; None where there is no such level.
        levels: what doing nothing, real images and other methods have.
        others: the same without doing nothing.
        is_level: whether it is such a level of other columns, and says nothing of a model.
    """

    column: Column
    chance: float | None
    levels: Sequence[Baseline]
    others: Sequence[Baseline]
    is_level: bool

    @property
    def name(self) -> str:
        """Of the column."""
        return self.column.name

    @property
    def comparison(self) -> str:
        """The levels in words; empty where there are none."""
        return ", ".join(f"{level.words} {level.value:.3f}" for level in self.levels)


class Measured(NamedTuple):
    """A column of the leaderboard as a page prints it."""

    column: Column
    value: str
    interval: str
    """Empty where there is none."""


def describe(study: Study) -> dict[str, Described]:
    """Every documented column of a study's leaderboard by name, whether the board has it or not."""
    level_columns = baselines.baseline_columns(study.board)
    return {
        column.name: Described(
            column,
            baselines.chance(study, column.name),
            baselines.every(study.board, column.name),
            baselines.others(study.board, column.name),
            column.name in level_columns,
        )
        for column in documented(study.benchmark)
    }


def landmarks(study: Study, described: Described) -> tuple[float, float, float]:
    """What a column has by chance, for the reference and for the Bayes control; NaN where there is none."""
    name, anchors = described.column.name, (study.benchmark.reference or "", study.benchmark.bayes or "")
    reference, bayes = (study.row_interval(a, name).value if a in study.entries else math.nan for a in anchors)
    return math.nan if described.chance is None else described.chance, reference, bayes


def documented(benchmark: Benchmark) -> list[Column]:
    """Of the board, then of cards."""
    listed = columns.documented_columns(benchmark)
    return [*listed, *(column for column in CARD_COLUMNS if column.name not in {other.name for other in listed})]


def decimals(uncertainty: float) -> int:
    """Decimals of a value with this uncertainty: two of its digits count below 35, one from there on; at most 6.

    That is the rule of the Particle Data Group.

    >>> decimals(0.0152), decimals(0.0602), decimals(2.4), decimals(41.0)
    (3, 2, 1, 0)
    """
    exponent = int(np.floor(np.log10(uncertainty)))
    leading = round(uncertainty / 10.0 ** (exponent - 2))
    digits = 1 if leading < 355 or leading >= 950 else 0
    places = digits - exponent - (1 if leading >= 950 else 0)
    return int(np.clip(places, 0, _MAX_DECIMALS))


def interval_decimals(interval: Interval) -> int:
    """Decimals that a value deserves by its interval; three without one.

    >>> [interval_decimals(Interval(*bounds)) for bounds in ((0.4, 0.38, 0.42), (0.002, 0.00189, 0.00211), (1, 1, 1))]
    [3, 5, 3]
    """
    half = (interval.high - interval.low) / 2
    return decimals(half) if math.isfinite(half) and half > 0 else 3


def measured(column: Column, interval: Interval) -> Measured:
    """A column's value and its interval as text."""
    return Measured(column, *texts(interval))


def texts(interval: Interval) -> tuple[str, str]:
    """A value and its interval as text, with as many decimals as the interval is worth.

    >>> texts(Interval(0.4, 0.38, 0.42)), texts(Interval(1.0, math.nan, math.nan))
    (('0.400', '[0.380, 0.420]'), ('1.000', ''))
    """
    digits = interval_decimals(interval)
    has_bounds = math.isfinite(interval.value) and math.isfinite(interval.low)
    bounds = f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if has_bounds else ""
    return rendering.number(interval.value, digits), bounds
