"""Replicates over images of what each setting ranks by, from measured tables and published rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name
from pagbench.ranking import statistics
from pagbench.ranking.summaries import log_ratio
from pagbench.studies.stability.choices import RESPONSES
from pagbench.studies.stability.ways import Alignment, Choice, Rows, Setting

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
        ranked: ids of the ranked models, in published order.
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
        """Ids of all models."""
        return (*self.ranked, *self.controls)

    def means(self, of: Mapping[str, pd.DataFrame], column: str, images: int) -> Array:
        """Replicates of a column's mean over the first so many images, shape (1 + replicates, models)."""
        values = np.stack([of[name][column].to_numpy(float)[:images] for name in self.names], axis=1)
        return statistics.weighted_means(self._drawn(images), values)

    def _drawn(self, images: int) -> Array:
        if images not in self._weights:
            self._weights[images] = statistics.resampling_weights(images, seed=self.benchmark.seed)
        return self._weights[images]


class Replicated(NamedTuple):
    """One setting; arrays of shape (1 + replicates, models).

    Attributes:
        values: what the ranking is by.
        chances: mean similarity with other images' targets; None for no alignment.
        judged: tangent energy, on-response and accuracy; None where the choice moves no regime.
        images: number of images.
        unscored: images without a value, over all ranked models.
    """

    values: Array
    chances: Array | None
    judged: tuple[Array, Array, Array] | None
    images: int
    unscored: int


def replicated(
    choice: Choice, setting: Setting, measured: Measured, own_steps: tuple[Choice, Setting] | None
) -> Replicated:
    """What a setting ranks by.

    Args:
        choice: the setting's.
        setting: one that was measured.
        measured: tables and rows.
        own_steps: the choice and setting that has the published responses; None without a manifold.
    """
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
        if choice.moves_regimes and own_steps is not None:
            judged = (means(TANGENT, some), means(ON, some, own_steps), _accuracy(measured, measured.tables, some))
        column = key(choice, setting, VALUE)
        unscored = sum(int(measured.tables[name][column].isna().sum()) for name in measured.ranked)
        return Replicated(_corrected(values, chances), chances, judged, images, unscored)
    tangent, on, off = (means(quantity, some) for quantity in (TANGENT, ON, OFF))
    values = tangent if choice.ranking == "tangent_energy" else log_ratio(off, on)
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
    return Replicated(log_ratio(off, on), None, (tangent, on, accuracy), way.images, 0)


def _corrected(values: Array, chances: Array) -> Array:
    """(A - A_chance)/(1 - A_chance), of means."""
    corrected: Array = (values - chances) / (1 - chances)
    return corrected
