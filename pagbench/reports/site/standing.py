"""Where a network stands on a benchmark: its measures with intervals, between landmarks that give them a meaning."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from pagbench.benchmarks import Benchmark
from pagbench.columns import Column
from pagbench.ranking import eligibility
from pagbench.ranking.statistics import Interval
from pagbench.reports.site import table_columns
from pagbench.studies import baselines
from pagbench.studies.networks import Network, Study

KEYS = ("alignment", "accuracy", "tangent_energy", "on_response", "off_response", "log_ratio")
"""Columns of the leaderboard that a page shows first; those that a benchmark has."""
WIDTH = 300.0
"""Of a scale, in its own units."""
_MARGIN = 6
_ABSENT = "–"


class Measured(NamedTuple):
    """A column of the leaderboard as a page prints it."""

    column: Column
    value: str
    interval: str
    """Empty where there is none."""


@dataclass(frozen=True)
class Scale:
    """One measure of a network between landmarks, drawn on a line.

    Attributes:
        measured: the network's.
        landmarks: chance, the reference and the Bayes control, as text.
        span: of the interval, positions on the line from 0 to `WIDTH`; None where the network has no value.
        at: position of the value.
        marks: positions of chance, the reference and the Bayes control.
        others: positions of all ranked networks.
    """

    measured: Measured
    landmarks: tuple[str, ...]
    span: tuple[float, float] | None
    at: float | None
    marks: tuple[float | None, ...]
    others: tuple[float, ...]


def decimals(interval: Interval) -> int:
    """How many decimals a value deserves, by the rule of the leaderboard's table; three without an interval.

    >>> decimals(Interval(0.4, 0.38, 0.42)), decimals(Interval(0.002, 0.00189, 0.00211)), decimals(Interval(1, 1, 1))
    (3, 5, 3)
    """
    half = (interval.high - interval.low) / 2
    return table_columns.decimals(half) if math.isfinite(half) and half > 0 else 3


def shown(column: Column, interval: Interval) -> Measured:
    """A value and its interval as text."""
    digits = decimals(interval)
    if not math.isfinite(interval.value):
        return Measured(column, _ABSENT, "")
    bounds = f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if math.isfinite(interval.low) else ""
    return Measured(column, f"{interval.value:.{digits}f}", bounds)


def plain(value: float, digits: int = 3) -> str:
    """A value without an interval as text."""
    return f"{value:.{digits}f}" if math.isfinite(value) else _ABSENT


def documented(benchmark: Benchmark) -> dict[str, Column]:
    """The columns that a leaderboard of the benchmark may have, by name."""
    return {column.name: column for column in table_columns.documented(benchmark)}


def measures(study: Study, network: Network) -> list[Measured]:
    """Every measured column of the leaderboard that says something of the network, in the leaderboard's order."""
    known, others = documented(study.benchmark), {"rank", *baselines.baseline_columns(study.board)}
    names = [name for name in study.board if f"{name}_low" in study.board and name in known and name not in others]
    found = [(known[name], study.interval(network.card.id, name)) for name in names]
    return [shown(column, interval) for column, interval in found if math.isfinite(interval.value)]


def scales(study: Study, network: Network) -> list[Scale]:
    """The first measures of a page, each on its line."""
    known = documented(study.benchmark)
    return [_scale(study, network, known[name]) for name in KEYS if name in study.board]


def _scale(study: Study, network: Network, column: Column) -> Scale:
    own = study.interval(network.card.id, column.name)
    guessed = baselines.chance(study, column.name)
    landmarks = (math.nan if guessed is None else guessed, *(_of(study, name, column.name) for name in _anchors(study)))
    others = study.ranked_values[column.name]
    known = [value for value in (*own, *landmarks, *others) if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def position(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        share = (value - low) / (high - low) if high > low else 0.5
        return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 1)

    span = position(own.low), position(own.high)
    return Scale(
        measured=shown(column, own),
        landmarks=tuple(plain(value) for value in landmarks),
        span=None if span[0] is None or span[1] is None else (span[0], span[1]),
        at=position(own.value),
        marks=tuple(position(value) for value in landmarks),
        others=tuple(sorted({place for value in others if (place := position(value)) is not None})),
    )


def _anchors(study: Study) -> tuple[str | None, str | None]:
    return study.benchmark.reference, study.benchmark.bayes


def _of(study: Study, model: str | None, column: str) -> float:
    return study.interval(model, column).value if model in study.entries and model is not None else math.nan


def summary(study: Study, network: Network) -> str:
    """The rank with its interval, the alignment, the regime, in one sentence; or why there is no rank."""
    row, alignment = study.entries[network.card.id], study.interval(network.card.id, "alignment")
    if not eligibility.has_result(network.status):
        return f"{_sentence(network.status)}."
    measured = shown(documented(study.benchmark)["alignment"], alignment)
    value = f"alignment {measured.value} {measured.interval}".strip()
    regime = f"; regime {row['regime']}, probability {row['regime_probability']:.2f}" if row["regime"] else ""
    target = " It was trained on the benchmark's own target." if network.card.trained_on_target else ""
    return f"{_place(study, network)}: {value}{regime}.{target}"


def _place(study: Study, network: Network) -> str:
    row = study.entries[network.card.id]
    if row["rank"] is None:
        return f"{_sentence(network.status)}, without a rank"
    ranked = len(study.ranked_values["rank"])
    low, high = row["rank_low"], row["rank_high"]
    if ranked == 1:
        return "The only ranked network"
    return f"Rank {row['rank']} of {ranked} ({f'95 %: {low} to {high}' if low != high else 'sure at 95 %'})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
