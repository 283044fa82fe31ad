"""From per-sample tables to rankings: what moves when one choice does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import columns, regimes, statistics
from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name
from pagbench.regimes import Anchored
from pagbench.sensitivity import rule, taus
from pagbench.sensitivity.choices import RESPONSES, Alignment, Choice, Rows, Setting
from pagbench.sensitivity.report import Moved, Outcome, Tau
from pagbench.statistics import Interval

Array = NDArray[np.float64]

VALUE, CHANCE, TANGENT, ON, OFF = "value", "chance", "tangent_energy", "on_response", "off_response"
CORRECT = "correct"


def key(choice: Choice, setting: Setting, quantity: str) -> str:
    """Name of a per-sample column."""
    return f"{choice.name}/{setting.name}/{quantity}"


@dataclass(frozen=True)
class Measured:
    """Everything that rankings are made of.

    Attributes:
        benchmark: the definition.
        ranked: ids of the ranked entrants, in published order.
        controls: ids of the controls.
        families: by id.
        tables: measured under all settings, by id: a row per image, in one order; columns as `key` says, and `correct`.
        rows: published, by id, in the benchmark's order.
    """

    benchmark: Benchmark
    ranked: tuple[str, ...]
    controls: tuple[str, ...]
    families: Mapping[str, str]
    tables: Mapping[str, pd.DataFrame]
    rows: Mapping[str, pd.DataFrame]
    _weights: dict[int, Array] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of all entrants."""
        return (*self.ranked, *self.controls)

    def means(self, of: Mapping[str, pd.DataFrame], column: str, images: int) -> Array:
        """Replicates of a column's mean over the first so many images, shape (1 + replicates, entrants)."""
        values = np.stack([of[name][column].to_numpy(float)[:images] for name in self.names], axis=1)
        return statistics.weighted_means(self._drawn(images), values)

    def _drawn(self, images: int) -> Array:
        if images not in self._weights:
            self._weights[images] = statistics.resampling_weights(images, seed=self.benchmark.seed)
        return self._weights[images]


class Replicated(NamedTuple):
    """One setting; arrays of shape (1 + replicates, entrants).

    Attributes:
        values: what the ranking is by.
        chances: mean similarity with other images' targets; None for no alignment.
        judged: tangent energy, on-response and accuracy; None where the choice moves no regime.
        images: number of images.
        unscored: images without a value, over all ranked entrants.
    """

    values: Array
    chances: Array | None
    judged: tuple[Array, Array, Array] | None
    images: int
    unscored: int


def moved(choice: Choice, measured: Measured, own_steps: tuple[Choice, Setting] | None) -> Moved:
    """A choice's rankings, its published setting's first.

    Args:
        choice: whose settings were all measured.
        measured: tables and rows.
        own_steps: the choice and setting that has the published responses; None without a manifold.
    """
    found = [_replicated(choice, setting, measured, own_steps) for setting in choice.settings]
    intervals = _rank_intervals(found[0].values, choice.ranking, measured)
    outcomes = tuple(
        _outcome(setting, one, found[0], intervals, choice, measured)
        for setting, one in zip(choice.settings, found, strict=True)
    )
    return Moved(
        name=choice.name,
        summary=choice.summary,
        ranking=choice.ranking,
        rank_intervals=tuple(intervals.get(name) for name in measured.names),
        outcomes=outcomes,
    )


def _replicated(
    choice: Choice, setting: Setting, measured: Measured, own_steps: tuple[Choice, Setting] | None
) -> Replicated:
    way = setting.way
    if isinstance(way, Rows):
        return _of_rows(way, measured) if way.epsilon is None else _of_steps(way, way.epsilon, measured)
    images = len(next(iter(measured.tables.values())))
    some = min(images, RESPONSES)

    def means(quantity: str, images: int, at: tuple[Choice, Setting] = (choice, setting)) -> Array:
        return measured.means(measured.tables, key(*at, quantity), images)

    if isinstance(way, Alignment):
        values, chances = means(VALUE, images), means(CHANCE, images)
        judged = None
        if choice.regimes and own_steps is not None:
            judged = (means(TANGENT, some), means(ON, some, own_steps), _accuracy(measured, measured.tables, some))
        column = key(choice, setting, VALUE)
        unscored = sum(int(measured.tables[name][column].isna().sum()) for name in measured.ranked)
        return Replicated(_corrected(values, chances), chances, judged, images, unscored)
    tangent, on, off = (means(quantity, some) for quantity in (TANGENT, ON, OFF))
    values = tangent if choice.ranking == "tangent_energy" else _log_ratio(off, on)
    return Replicated(values, None, (tangent, on, _accuracy(measured, measured.tables, some)), some, 0)


def _accuracy(measured: Measured, of: Mapping[str, pd.DataFrame], images: int) -> Array:
    return measured.means(of, CORRECT, images)


def _of_rows(way: Rows, measured: Measured) -> Replicated:
    """The published alignment of the first images; drawn are those of all of them, so that rankings are paired."""
    benchmark, every = measured.benchmark, len(measured.benchmark.samples)
    names = (benchmark.alignment, f"{benchmark.alignment}_chance")
    first = {name: rows[list(names)].head(way.images).reindex(rows.index) for name, rows in measured.rows.items()}
    values, chances = (measured.means(first, name, every) for name in names)
    return Replicated(_corrected(values, chances), chances, None, way.images, 0)


def _of_steps(way: Rows, epsilon: float, measured: Measured) -> Replicated:
    """The published responses to steps of another length."""
    on, off = (measured.means(measured.rows, epsilon_name(name, epsilon), way.images) for name in (ON, OFF))
    tangent, accuracy = (measured.means(measured.rows, name, way.images) for name in (TANGENT, CORRECT))
    return Replicated(_log_ratio(off, on), None, (tangent, on, accuracy), way.images, 0)


def _corrected(values: Array, chances: Array) -> Array:
    """(A - A_chance)/(1 - A_chance), of means."""
    corrected: Array = (values - chances) / (1 - chances)
    return corrected


def _log_ratio(off: Array, on: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = np.log(off / on)
    return np.where(np.isfinite(ratio), ratio, np.nan)


def _better_up(values: Array, ranking: str) -> Array:
    """Values of which more is better."""
    described = {column.name: column.higher_is_better for column in columns.BOARD_COLUMNS}
    return -values if described[ranking] is False else values


def _rank_intervals(values: Array, ranking: str, measured: Measured) -> dict[str, tuple[int, int]]:
    """Simultaneous 95 % rank intervals of the ranked entrants that have a value in every replicate."""
    places = _known(values, measured)
    found = statistics.rank_intervals(_better_up(values[:, places], ranking))
    return {measured.ranked[p]: (int(low), int(high)) for p, (low, high) in zip(places, found, strict=True)}


def _known(values: Array, measured: Measured) -> list[int]:
    """Places of the ranked entrants that have a value in every replicate."""
    finite = np.isfinite(values).all(axis=0)
    return [place for place in range(len(measured.ranked)) if finite[place]]


def _outcome(
    setting: Setting,
    one: Replicated,
    base: Replicated,
    published: Mapping[str, tuple[int, int]],
    choice: Choice,
    measured: Measured,
) -> Outcome:
    both = [p for p in _known(base.values, measured) if p in set(_known(one.values, measured))]
    values = _better_up(one.values, choice.ranking)
    tau, families = _taus(values[:, both], _better_up(base.values, choice.ranking)[:, both], both, measured)
    own = _rank_intervals(one.values, choice.ranking, measured)
    ranks = _ranks(values[0], measured)
    names = [measured.ranked[place] for place in both]
    is_published = setting is choice.settings[0]
    return Outcome(
        name=setting.name,
        images=one.images,
        values=tuple(one.values[0].tolist()),
        chances=None if one.chances is None else tuple(one.chances[0].tolist()),
        ranks=tuple(ranks.get(name) for name in measured.names),
        regimes=None if one.judged is None or not choice.regimes else _regimes(one.judged, measured),
        unscored=one.unscored,
        tau=Tau(value=tau.value, low=tau.low, high=tau.high, families_low=families.low, families_high=families.high),
        moved=_beyond(ranks, published),
        first=min(ranks, key=lambda name: ranks[name]),
        overturns=() if is_published else rule.clauses(tau, *([found[n] for n in names] for found in (published, own))),
    )


def _taus(a: Array, b: Array, places: Sequence[int], measured: Measured) -> tuple[Interval, Interval]:
    families = [measured.families[measured.ranked[place]] for place in places]
    return taus.over_images(a, b), taus.over_families(a[0], b[0], families, seed=measured.benchmark.seed)


def _ranks(values: Array, measured: Measured) -> dict[str, int]:
    """1 for the best; equal values have the better rank."""
    ranked = pd.Series(values[: len(measured.ranked)], index=measured.ranked).dropna()
    return {str(name): int(rank) for name, rank in ranked.rank(ascending=False, method="min").items()}


def _beyond(ranks: Mapping[str, int], published: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Entrants outside their published rank intervals, by how far."""
    far = {
        name: max(published[name][0] - rank, rank - published[name][1])
        for name, rank in ranks.items()
        if name in published
    }
    return tuple(sorted((name for name, by in far.items() if by > 0), key=lambda name: (-far[name], ranks[name])))


def _regimes(judged: tuple[Array, Array, Array], measured: Measured) -> tuple[str | None, ...]:
    """Regime of each entrant between the anchors; None where none is judged."""
    benchmark, names = measured.benchmark, measured.names
    anchors = (benchmark.reference, benchmark.bayes)
    if benchmark.thresholds is None or not all(anchor in names for anchor in anchors):
        return (None,) * len(names)
    if any(np.isnan(judged[0][:, names.index(str(anchor))]).all() for anchor in anchors):
        return (None,) * len(names)

    def of(place: int) -> Anchored:
        return Anchored(*(values[1:, place] for values in judged))

    reference, bayes = (of(names.index(str(anchor))) for anchor in anchors)
    found = [regimes.judge(of(place), reference, bayes, benchmark.thresholds) for place in range(len(names))]
    return tuple(None if verdict is None else verdict.regime for verdict in found)
