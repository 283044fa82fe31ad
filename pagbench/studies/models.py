"""All models of a results folder with their cards, rows, bootstrap replicates and pictures, and their leaderboard."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from pagbench.ranking import eligibility, regimes, resampling
from pagbench.ranking.board import build_board
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
        status: the leaderboard's.
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

    @property
    def make(self) -> tuple[str, str]:
        """Architecture and activation."""
        return self.card.architecture or "", self.card.activation or ""

    @property
    def drawn(self) -> bool:
        """Whether it is a point of a path: no control, all samples measured, and a meaningful result."""
        return self.paired and not self.card.control and eligibility.has_result(self.status)

    @property
    def anchored(self) -> Anchored:
        """What regimes are judged by."""
        return anchored(self.replicates)


def anchored(replicates: Replicates) -> Anchored:
    """The replicates that the regime rule reads, without the estimate."""
    return Anchored(replicates["tangent_energy"][1:], replicates["on_response"][1:], replicates["accuracy"][1:])


@dataclass(frozen=True)
class Study:
    """All models that were measured on a benchmark, and their leaderboard.

    Attributes:
        benchmark: the definition.
        models: all of them.
        board: by rank.
        sensitivity: how much the ranking depends on the benchmark's choices; None where there is no report.
    """

    benchmark: Benchmark
    models: tuple[StudiedModel, ...]
    board: pd.DataFrame
    sensitivity: Report | None = None

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
                f"`pagbench run {benchmark.bayes} -b {benchmark.name}`"
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

    def interval(self, model: str, column: str) -> Interval:
        """A column of the leaderboard with its 95 % interval; NaN where the model has none."""
        row = self.entries[model]
        value, low, high = (row.get(key) for key in (column, f"{column}_low", f"{column}_high"))
        return Interval(*(math.nan if bound is None else float(bound) for bound in (value, low, high)))

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
        return chosen[0].anchored, chosen[1].anchored

    def verdict(self, model: StudiedModel, thresholds: Thresholds) -> Verdict | None:
        """The regime that a model would be in under these thresholds; None where none is judged."""
        if self.anchors is None or not model.paired or not eligibility.has_result(model.status):
            return None
        return regimes.judge(model.anchored, *self.anchors, thresholds)

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

    summarised, table = read_board(folder, benchmark, keep=keep, on_warning=on_warning)
    statuses = dict(zip(table["model"], table["status"], strict=True))
    seeds = {summary.name: summary.evidence.seed for summary, _ in summarised}
    bayes_seed = seeds.get(benchmark.bayes or "", benchmark.seed)
    models = []
    for summary, (result, pictures) in summarised:
        source, card = result.provenance, result.provenance.card
        model = StudiedModel(
            card=card,
            rows=result.rows,
            provenance=result.document,
            status=statuses[summary.name],
            paired=len(result.rows) == len(benchmark.samples) and summary.evidence.seed == bayes_seed,
            replicates=summary.replicates,
            preflight=source.preflight,
            verification=result.verification,
            thumbnails=pictures.thumbnails,
            gallery=pictures.gallery,
            made=pictures.made,
            path=result.path if result.path is not None and result.path.exists() else None,
        )
        models.append(model)
    return Study(benchmark, tuple(models), table, read_report(folder, benchmark))


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
    drawn = resampling.resample_samples(benchmark)

    def summarised(result: Result) -> tuple[Summary, Kept]:
        return summarise_result(result, benchmark, drawn), keep(result)

    listed = results.map_results(folder, benchmark, summarised, on_warning)
    return listed, build_board([summary for summary, _ in listed], benchmark)


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
    return rows[["label", *names]].astype({"label": np.int32, **dict.fromkeys(names, np.float32)}).assign(sample_id=ids)
