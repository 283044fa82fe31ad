"""The models of a results folder, and replicates over images of what each level ranks them by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name
from pagbench.errors import ResultsError
from pagbench.ranking import eligibility, resampling
from pagbench.ranking.resampling import Resampling
from pagbench.ranking.summaries import log_ratio
from pagbench.results.folders import OnWarning
from pagbench.studies.models import read_board
from pagbench.studies.stability.factors import RESPONSES, Alignment, Factor, Level, Response

Array = NDArray[np.float64]

VALUE, CHANCE, TANGENT, ON, OFF = "value", "chance", "tangent_energy", "on_response", "off_response"
CORRECT = "correct"
_MIN_MODELS = 2


@dataclass(frozen=True)
class PublishedModel:
    """A model of the results folder.

    Attributes:
        name: its id.
        family: of its training.
        ranked: whether it has a rank; otherwise it is a control.
        rows: in the benchmark's order.
        weights: hash of its network's.
    """

    name: str
    family: str
    ranked: bool
    rows: pd.DataFrame
    weights: str = ""


def published_models(folder: Path, benchmark: Benchmark, on_warning: OnWarning | None = None) -> list[PublishedModel]:
    """Ranked models by rank, then controls with a result; both with all images, for others cannot be compared.

    Args:
        folder: of results.
        benchmark: which of its benchmarks.
        on_warning: as for `results.map_results`.

    Raises:
        ResultsError: see `results.map_results`.
    """
    summarised, table = read_board(folder, benchmark, keep=lambda result: result, on_warning=on_warning)
    by_name = {summary.name: result for summary, result in summarised}
    models = []
    for _, row in table.iterrows():
        name, status = str(row["model"]), str(row["status"])
        result = by_name[name]
        if status not in (eligibility.RANKED, "control") or len(result.rows) < len(benchmark.samples):
            continue
        rows = result.rows.set_index("sample_id").loc[list(benchmark.samples)]
        ranked = status == eligibility.RANKED
        models.append(PublishedModel(name, str(row["family"]), ranked, rows, result.provenance.weights_sha256))
    return models


def check_enough(models: Sequence[PublishedModel], benchmark: Benchmark) -> None:
    """Refuses what is no ranking.

    Raises:
        ResultsError: fewer than two models are ranked.
    """
    ranked = sum(model.ranked for model in models)
    if ranked < _MIN_MODELS:
        raise ResultsError(
            f"{benchmark.label}: {ranked} ranked models that can be measured here, a ranking needs {_MIN_MODELS}; "
            f"measure more with `pagbench run --benchmark {benchmark.label}`"
        )


def key(factor: Factor, level: Level, quantity: str) -> str:
    """Name of a per-sample column."""
    return f"{factor.name}/{level.name}/{quantity}"


@dataclass(frozen=True)
class Measured:
    """Everything that rankings are made of.

    Attributes:
        benchmark: the definition.
        models: the ranked ones in published order, then controls; their rows are in the benchmark's order.
        tables: measured under all levels, by id: a row per image, in one order; columns as `key` says, and `correct`.
    """

    benchmark: Benchmark
    models: tuple[PublishedModel, ...]
    tables: Mapping[str, pd.DataFrame]
    _drawn: dict[tuple[str, int], Resampling] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of all models."""
        return tuple(model.name for model in self.models)

    @property
    def ranked(self) -> tuple[PublishedModel, ...]:
        """The ranked models, which come first."""
        return tuple(model for model in self.models if model.ranked)

    def table_means(self, column: str, images: int) -> Array:
        """Replicates of the mean of a measured column, as `published_means`; its images follow the cycle."""
        blocks = partial(resampling.along, images, self.benchmark.classes)
        return self._means([self.tables[name][column] for name in self.names], images, "cycle", blocks)

    def published_means(self, column: str, images: int) -> Array:
        """Replicates of the mean of a published column over the first images, shape (1 + replicates, models)."""
        blocks = partial(resampling.blocks_of, self.benchmark)
        return self._means([model.rows[column] for model in self.models], images, "samples", blocks)

    def _means(
        self, columns: Sequence["pd.Series[float]"], images: int, order: str, blocks: Callable[[], NDArray[np.int64]]
    ) -> Array:
        if (order, images) not in self._drawn:
            present = np.unique(blocks()[:images], return_inverse=True)[1]
            self._drawn[order, images] = resampling.resample(present, seed=self.benchmark.seed)
        values: Array = np.stack([column.to_numpy(float)[:images] for column in columns], axis=1)
        return resampling.means(self._drawn[order, images], values)


class Replicated(NamedTuple):
    """One level; arrays of shape (1 + replicates, models).

    Attributes:
        values: what the ranking is by.
        chances: mean similarity with other images' targets; None for no alignment.
        judged: tangent energy, on-response and accuracy; None where the factor moves no regime.
        images: number of images.
        unscored: images without a value, over all ranked models.
    """

    values: Array
    chances: Array | None
    judged: tuple[Array, Array, Array] | None
    images: int
    unscored: int = 0


def replicated(factor: Factor, level: Level, measured: Measured, own_steps: tuple[Factor, Level] | None) -> Replicated:
    """What a level ranks by.

    Args:
        factor: the level's.
        level: one that was measured.
        measured: tables and rows.
        own_steps: the factor and level that has the published responses; None without a manifold.
    """
    variant = level.variant
    if isinstance(variant, Alignment):
        return _alignment(factor, level, measured, own_steps)
    if isinstance(variant, Response):
        return _responses(factor, level, measured)
    if variant.epsilon is None:
        return _first_images(variant.images, measured)
    return _published_steps(variant.images, variant.epsilon, measured)


def _alignment(factor: Factor, level: Level, measured: Measured, own_steps: tuple[Factor, Level] | None) -> Replicated:
    images = len(next(iter(measured.tables.values())))
    column = key(factor, level, VALUE)
    values, chances = (measured.table_means(name, images) for name in (column, key(factor, level, CHANCE)))
    judged = None
    if factor.moves_regimes and own_steps is not None:
        names = (key(factor, level, TANGENT), key(*own_steps, ON), CORRECT)
        tangent, on, accuracy = (measured.table_means(name, min(images, RESPONSES)) for name in names)
        judged = (tangent, on, accuracy)
    unscored = sum(int(measured.tables[model.name][column].isna().sum()) for model in measured.ranked)
    return Replicated(_corrected(values, chances), chances, judged, images, unscored)


def _responses(factor: Factor, level: Level, measured: Measured) -> Replicated:
    images = min(len(next(iter(measured.tables.values()))), RESPONSES)
    names = (*(key(factor, level, quantity) for quantity in (TANGENT, ON, OFF)), CORRECT)
    tangent, on, off, accuracy = (measured.table_means(name, images) for name in names)
    values = tangent if factor.ranking == "tangent_energy" else log_ratio(off, on)
    return Replicated(values, None, (tangent, on, accuracy), images)


def _first_images(images: int, measured: Measured) -> Replicated:
    """The published alignment of the first images; drawn are those of all of them, so that rankings are paired."""
    names = [measured.benchmark.alignment, f"{measured.benchmark.alignment}_chance"]
    models = [
        replace(model, rows=model.rows[names].head(images).reindex(model.rows.index)) for model in measured.models
    ]
    first = replace(measured, models=tuple(models))
    values, chances = (first.published_means(name, len(measured.benchmark.samples)) for name in names)
    return Replicated(_corrected(values, chances), chances, None, images)


def _published_steps(images: int, epsilon: float, measured: Measured) -> Replicated:
    """The published responses to steps of another length."""
    names = (TANGENT, epsilon_name(ON, epsilon), epsilon_name(OFF, epsilon), CORRECT)
    tangent, on, off, accuracy = (measured.published_means(name, images) for name in names)
    return Replicated(log_ratio(off, on), None, (tangent, on, accuracy), images)


def _corrected(values: Array, chances: Array) -> Array:
    """(A - A_chance)/(1 - A_chance), of means."""
    corrected: Array = (values - chances) / (1 - chances)
    return corrected
