"""All models of a results folder with their cards, rows, bootstrap replicates and pictures, and their leaderboard."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from pagbench import columns, results
from pagbench.benchmarks import Benchmark, Thresholds
from pagbench.cards import ModelCard
from pagbench.columns import epsilon_name
from pagbench.errors import ResultsError
from pagbench.ranking import eligibility, profile, regimes, resampling
from pagbench.ranking.board import Rows, rows_of, table_of
from pagbench.ranking.joining import ON_TARGET
from pagbench.ranking.recipes import Recipe
from pagbench.ranking.regimes import Anchored, Verdict
from pagbench.ranking.statistics import Interval
from pagbench.ranking.summaries import Replicates, Summary, summarise_result
from pagbench.results import Result
from pagbench.results.folders import OnWarning
from pagbench.results.preflight import Preflight
from pagbench.results.thumbnails import GeneratedImages, Thumbnails, decode, decode_generated
from pagbench.results.verification import Verification
from pagbench.studies.stability.report import Report, read_report

_STANDARD = "standard"
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class StudiedModel:
    """A model with all that pages and figures show of it.

    Attributes:
        card: what it is.
        rows: one per sample; its id, its label and the columns that pages show.
        provenance: where they come from; see `pagbench.running.provenance.gather`.
        status: the leaderboard's; of its recipe's row where it shares one.
        recipe: what it was trained by, but for the seed; None for a model of its own.
        paired: whether it has all samples of the benchmark, with the Bayes control's noise.
        replicates: of every statistic over images, the estimate first; the board's own.
        thumbnails: gradients on the first samples; None where its results file has none.
        gallery: gradients where it is aligned best, about the median, and worst; None likewise.
        made: images that were made by following its gradient, and those there were before, where its results have any.
        preflight: its pre-flight card, where there is one.
        verification: what a rerun of some of its rows has found, where there was one.
        path: its results file; None where a run has not yet finished it.
    """

    card: ModelCard
    rows: pd.DataFrame
    provenance: Mapping[str, Any]
    status: str
    paired: bool
    replicates: Replicates
    thumbnails: Thumbnails | None
    gallery: Thumbnails | None
    made: Mapping[str, GeneratedImages]
    preflight: Preflight | None
    verification: Verification | None
    path: Path | None
    recipe: Recipe | None = None

    @property
    def make(self) -> tuple[str, str]:
        """Architecture and activation."""
        return self.card.architecture or "", self.card.activation or ""

    @property
    def drawn(self) -> bool:
        """Whether it is a point of a path: no control, all samples measured, and a meaningful result."""
        return self.paired and not self.card.control and eligibility.has_result(self.status)


@dataclass(frozen=True)
class Study:
    """All models that were measured on a benchmark, and their leaderboard.

    Attributes:
        benchmark: the definition.
        models: all of them.
        board: by rank.
        sensitivity: how much the ranking depends on the benchmark's choices; None where there is no report.
        row_of: the row of the board of each model that shares it with others of its recipe.
        own: what such a model has by itself, columns of the leaderboard.
        row_replicates: of the rows of a board of recipes, by id; they vary with the training seeds, too.
    """

    benchmark: Benchmark
    models: tuple[StudiedModel, ...]
    board: pd.DataFrame
    sensitivity: Report | None = None
    row_of: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    row_replicates: Mapping[str, Replicates] = field(default_factory=dict)

    def check_bayes(self) -> None:
        """Refuses a study without the Bayes control.

        Raises:
            ResultsError: it was not measured, or the benchmark has none.
        """
        benchmark = self.benchmark
        if benchmark.bayes is None:
            raise ResultsError(
                f"{benchmark.label} has no Bayes control, which the figures compare with; use `pagbench leaderboard`"
            )
        if self.named(benchmark.bayes) is None:
            raise ResultsError(
                f"figures of {benchmark.label} need the Bayes control; run "
                f"`pagbench run {benchmark.bayes} -b {benchmark.label}`"
            )

    @cached_property
    def bayes(self) -> StudiedModel:
        """The Bayes control.

        Raises:
            ResultsError: see `check_bayes`.
        """
        self.check_bayes()
        model = self.named(self.benchmark.bayes)
        assert model is not None
        return model

    @cached_property
    def reference(self) -> StudiedModel | None:
        """The unregularised anchor; None on a benchmark without one."""
        return self.named(self.benchmark.reference)

    def named(self, name: str | None) -> StudiedModel | None:
        """The model of an id; None where it was not measured."""
        return next((model for model in self.models if model.card.id == name), None)

    @cached_property
    def entries(self) -> Mapping[str, Mapping[str, Any]]:
        """The leaderboard's rows by id; None where a column has no value."""
        known = self.board.astype(object).where(self.board.notna(), None)
        rows = known.to_dict("records")
        return {str(row["model"]): {str(column): value for column, value in row.items()} for row in rows}

    def entry(self, model: str) -> Mapping[str, Any]:
        """A model's columns of the leaderboard: values of its own, and rank, status and regime of its row."""
        row = self.entries[self.row_of.get(model, model)]
        return {**row, **self.own.get(model, {})}

    def replicates(self, model: StudiedModel) -> Replicates:
        """Those that a row is ranked by; of a model that shares its row, the row's."""
        return self.row_replicates.get(self.row_of.get(model.card.id, model.card.id), model.replicates)

    @cached_property
    def rankings(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """The ranked rows by rank; apart from them those who rank among themselves, being trained on the target."""
        ranked = [row for row in self.entries.values() if row["status"] == eligibility.RANKED]
        ranked.sort(key=lambda row: int(row["rank"]))
        apart = [row for row in ranked if row.get("track") == ON_TARGET]
        return [row for row in ranked if row.get("track") != ON_TARGET], apart

    def ranked_beside(self, row: Mapping[str, Any]) -> int:
        """How many rows take a rank in the ranking that this one takes part in."""
        return len(self.rankings[row.get("track") == ON_TARGET])

    def interval(self, model: str, column: str) -> Interval:
        """A column of the leaderboard with its 95 % interval, the model's own; NaN where it has none."""
        return _interval(self.entry(model), column)

    def row_interval(self, row: str, column: str) -> Interval:
        """The same of a row, which may be of a recipe."""
        return _interval(self.entries[row], column)

    @cached_property
    def labels(self) -> Mapping[str, int]:
        """Class of each sample, of the model with the most."""
        rows = max((model.rows for model in self.models), key=len)
        return {str(name): int(label) for name, label in zip(rows["sample_id"], rows["label"], strict=True)}

    @cached_property
    def ranked_values(self) -> Mapping[str, list[float]]:
        """Values of the ranked models by column of the leaderboard, for the columns of numbers; NaN where none."""
        ranked = self.board[self.board["status"] == eligibility.RANKED].select_dtypes("number")
        return {str(name): ranked[name].astype(float).tolist() for name in ranked}

    @cached_property
    def anchors(self) -> tuple[Anchored, Anchored] | None:
        """Reference and Bayes control, between which regimes are judged; None where they cannot be."""
        chosen = [model for model in (self.reference, self.named(self.benchmark.bayes)) if model]
        if len(chosen) < 2 or self.benchmark.thresholds is None:
            return None
        if not all(n.paired and eligibility.has_result(n.status) for n in chosen):
            return None
        first, second = (Anchored.of(self.replicates(model), self.benchmark) for model in chosen)
        return first, second

    def verdict(self, model: StudiedModel, thresholds: Thresholds) -> Verdict | None:
        """The regime that a model would be in under these thresholds; None where none is judged."""
        if self.anchors is None or not model.paired or not eligibility.has_result(model.status):
            return None
        return regimes.judge(Anchored.of(model.replicates, self.benchmark), *self.anchors, thresholds)

    @cached_property
    def drawn(self) -> list[StudiedModel]:
        """Models that are points of paths, by strength and training seed."""
        chosen = [model for model in self.models if model.drawn]
        return sorted(chosen, key=lambda model: (model.card.strength or 0, model.card.seed or 0))

    @cached_property
    def make(self) -> tuple[str, str]:
        """Architecture and activation of the paths: the reference's, or the commonest."""
        if self.reference is not None:
            return self.reference.make
        return Counter(model.make for model in self.drawn).most_common(1)[0][0] if self.drawn else ("", "")

    @property
    def standard(self) -> str:
        """The family of the models without regularisation."""
        return _STANDARD if self.reference is None else self.reference.card.family

    def is_standard(self, model: StudiedModel) -> bool:
        """Whether a model was trained without regularisation."""
        return model.card.family == self.standard and not model.card.strength


def read_study(folder: Path, benchmark: Benchmark, on_warning: OnWarning | None = None) -> Study:
    """Reads the results of a benchmark, and nothing else; of the rows only what is shown stays in memory.

    Args:
        folder: of results.
        benchmark: which of its benchmarks.
        on_warning: as for `results.map_results`.

    Raises:
        ResultsError: there are none, or a file is damaged.
    """
    samples = pd.CategoricalDtype(list(benchmark.samples), ordered=False)

    def keep(result: Result) -> tuple[Result, _Pictures]:
        return replace(result, rows=_shown(result.rows, benchmark, samples)), _pictures(result)

    summarised, rows = _read_rows(folder, benchmark, keep=keep, on_warning=on_warning)
    seeds = {summary.name: summary.evidence.seed for summary, _ in summarised}
    bayes_seed = seeds.get(benchmark.bayes or "", benchmark.seed)
    models = []
    for summary, (result, pictures) in summarised:
        source, card = result.provenance, result.provenance.card
        model = StudiedModel(
            card=card,
            rows=result.rows,
            provenance=result.document,
            status=rows.statuses[rows.row_of[summary.name]],
            paired=len(result.rows) == len(benchmark.samples) and summary.evidence.seed == bayes_seed,
            replicates=summary.replicates,
            preflight=source.preflight,
            verification=result.verification,
            thumbnails=pictures.thumbnails,
            gallery=pictures.gallery,
            made=pictures.made,
            path=result.path if result.path is not None and result.path.exists() else None,
            recipe=summary.recipe,
        )
        models.append(model)
    optional = [column.name for column in columns.optional_board_columns(benchmark)]
    not_measured = {f"{name}{part}": None for name in optional for part in ("", "_low", "_high")}
    shared = Counter(rows.row_of.values())
    joined = [summary for summary, _ in summarised if shared[rows.row_of[summary.name]] > 1]
    return Study(
        benchmark,
        tuple(models),
        table_of(rows, benchmark),
        read_report(folder, benchmark),
        row_of={summary.name: rows.row_of[summary.name] for summary in joined},
        own={summary.name: not_measured | _own(summary, benchmark) for summary in joined},
        row_replicates={} if benchmark.ranking is None else {n: s.replicates for n, s in rows.models.items()},
    )


def _own(summary: Summary, benchmark: Benchmark) -> dict[str, Any]:
    """Columns of the leaderboard that depend on no other model; None where there is no value."""
    entry = summary.entry | profile.columns_of(summary.entry, benchmark.sigmas)
    return {name: None if pd.isna(value) else value for name, value in entry.items()}


def _interval(row: Mapping[str, Any], column: str) -> Interval:
    value, low, high = (row.get(key) for key in (column, f"{column}_low", f"{column}_high"))
    return Interval(*(math.nan if bound is None else float(bound) for bound in (value, low, high)))


class _Pictures(NamedTuple):
    """The pictures of one model."""

    thumbnails: Thumbnails | None
    gallery: Thumbnails | None
    made: Mapping[str, GeneratedImages]


def _pictures(result: Result) -> _Pictures:
    source, name = result.provenance, result.name
    return _Pictures(decode(source.maps, name), decode(source.gallery, name), decode_generated(source.made, name))


def read_board(
    folder: Path, benchmark: Benchmark, *, keep: Callable[[Result], Kept], on_warning: OnWarning | None = None
) -> tuple[list[tuple[Summary, Kept]], pd.DataFrame]:
    """The results of a benchmark with their summaries, and the leaderboard of these.

    Args:
        folder: of results.
        benchmark: which of its benchmarks.
        keep: what stays in memory of a result that is summarised.
        on_warning: as for `results.map_results`.

    Raises:
        ResultsError: there are none, or a file is damaged.
    """
    listed, rows = _read_rows(folder, benchmark, keep=keep, on_warning=on_warning)
    return listed, table_of(rows, benchmark)


def _read_rows(
    folder: Path, benchmark: Benchmark, *, keep: Callable[[Result], Kept], on_warning: OnWarning | None
) -> tuple[list[tuple[Summary, Kept]], Rows]:
    drawn = resampling.resample_samples(benchmark)

    def summarised(result: Result) -> tuple[Summary, Kept]:
        return summarise_result(result, benchmark, drawn), keep(result)

    listed = results.map_results(folder, benchmark, summarised, on_warning)
    return listed, rows_of([summary for summary, _ in listed], benchmark)


def shown_columns(benchmark: Benchmark) -> list[str]:
    """Per-sample columns whose values pages show, in their order."""
    if benchmark.no_target:
        return ["confidence"]
    names = [benchmark.alignment, "alignment_second", "tangent_energy"]
    if benchmark.epsilon is not None:
        names += [epsilon_name(name, benchmark.epsilon) for name in ("on_response", "off_response")]
    return [*names, "confidence", "gradient_norm"]


def _shown(rows: pd.DataFrame, benchmark: Benchmark, samples: pd.CategoricalDtype) -> pd.DataFrame:
    """Sample, label, the columns that are shown and those of optional measures, as the floats that they are on disk."""
    optional = [column.name for column in columns.sample_columns(benchmark, columns.OPTIONAL)]
    wanted = dict.fromkeys([*shown_columns(benchmark), "alignment_cosine", *optional])
    hidden = columns.sample_columns(benchmark, [name for name in columns.REGISTRY if benchmark.hides(name)])
    names = [name for name in wanted if name in rows and name not in {column.name for column in hidden}]
    positions = results.positions(rows["sample_id"], benchmark)
    ids = pd.Categorical.from_codes(positions.astype(np.int32), dtype=samples)
    shown = rows[names].astype(np.float32)  # all at once: pandas converts a dict of types column by column
    shown.insert(0, "label", rows["label"].astype(np.int32))
    return shown.assign(sample_id=ids)
