"""The leaderboard as a data frame, and how far its ranking depends on the target."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark, validation
from pagbench.errors import ResultsError, UnknownNameError, warn
from pagbench.ranking import against as placing
from pagbench.ranking import eligibility, joining, profile, regimes, resampling, statistics
from pagbench.ranking.copies import find_copies
from pagbench.ranking.statistics import Interval, clustered_spearman, kendall
from pagbench.ranking.summaries import Replicates, Summary, summarise
from pagbench.ranking.summary_cache import read_summaries
from pagbench.results.frames import as_measured, benchmarks_in, declared_in, only_label, target_weights_in

OTHER_TARGETS = {
    "alignment_second_corrected": "the second target",
    "alignment_lpips_corrected": "LPIPS",
    "alignment_cosine_corrected": "the cosine",
    "paper_alignment": "the paper protocol",
}
FEWEST = 5
"""Ranked models that a rank correlation needs."""
_SAME = 1e-4
_REGIME = ("regime", "regime_probability", "p_weak", "p_bayes_aligned", "p_excessive")
_NEEDED = {"rank", "rank_low", "rank_high", "model", "status", "control", "verification"}
"""What the table of a notebook is made of; a user may have taken it away in place."""


class Leaderboard(pd.DataFrame):
    """A leaderboard with all its columns, of which a notebook shows a few.

    Rows that are taken from it, as `board.head()`, are one, too; what lacks a column, or has other kinds of values, is
    a plain data frame.

    Attributes:
        definition: the benchmark.
        shown: which columns a notebook shows, as `leaderboard` takes them.
    """

    definition: Benchmark
    shown: str | Sequence[str]
    _metadata: ClassVar[list[str]] = ["definition", "shown"]

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        """What pandas makes of a part of it, or of something computed."""

        def make(*args: Any, **kwargs: Any) -> pd.DataFrame:
            made = pd.DataFrame(*args, **kwargs)
            kinds = made.dtypes.to_dict()
            if not hasattr(self, "definition") or any(kinds.get(name) != kind for name, kind in self.dtypes.items()):
                return made
            board = Leaderboard(made)
            board.definition, board.shown = self.definition, self.shown
            return board

        return make

    def _repr_html_(self) -> str | None:
        from pagbench.ranking import render  # which needs this module

        needed = _NEEDED | ({"regime_probability"} if "regime" in self else set())
        if not self.empty and self.columns.is_unique and needed <= set(self.columns):
            with suppress(UnknownNameError):  # a column that was named has another name now
                return render.to_html(self, self.definition, self.shown)
        return pd.DataFrame(self)._repr_html_()  # type: ignore[operator]  # its stubs lack it


def leaderboard(
    rows: pd.DataFrame | Sequence[pd.DataFrame] | str | Path,
    benchmark: str | Benchmark | None = None,
    *,
    columns: str | Sequence[str] = "short",
    sort: str | None = None,
    against: str | Path | None = None,
    on_warning: Callable[[str], object] = warn,
) -> Leaderboard:
    """Ranks models by alignment, with 95 % intervals, rank intervals and regimes; those need both anchors' rows.

    Args:
        rows: per-sample rows as `pagbench.run` and `pagbench.load_results` return them, a list of several such data
            frames, or a results folder; `published` for the published results, which a checkout has. What
            `pandas.concat` and `pandas.read_parquet` return has nothing in `.attrs`: no recipes, pre-flight checks,
            verifications.
        benchmark: needed where the rows, or the folder, hold more than one.
        columns: those that a notebook shows: `short`, `all`, or names or headings, as `tangent_energy` or
            `tangent energy`, beside the model. The data frame has all of them in any case.
        sort: column to order by, its name or its heading, best first (or ascending where neither direction is better);
            rank by default.
        against: rank them among the models of another results folder, or of its URL; `published`, among those of the
            published leaderboard, which a checkout has. Anchors and controls are taken from there; of other models that
            both have, those of `rows` are.
        on_warning: called with a line for each file of a folder that is damaged or somebody else's, and left out; and
            where a data frame has nothing in `.attrs` of some models.

    Returns:
        One row per model, columns as in `pagbench.columns.BOARD_COLUMNS`, every measured value with `_low` and
        `_high`; with `against`, `own` says whether a row has a model of `rows`.

    >>> leaderboard(pagbench.run({"mine": network}, "digits"), against="published")  # doctest: +SKIP
    >>> leaderboard([rows, pagbench.load_results("results")], columns=["alignment", "accuracy"])  # doctest: +SKIP

    Raises:
        ResultsError: no rows, or rows of several benchmarks; no column is named; nothing to rank against, or models
            there that were measured against other networks.
        UnknownNameError: no such column.
    """
    from pagbench.ranking import render  # which needs this module

    if isinstance(rows, str | Path):
        folder = results.local(rows)
        definition = benchmarks.load(benchmark or only_label(folder))
        summaries = read_summaries(folder, definition, on_warning)
    else:
        measured = as_measured(rows)
        definition = benchmark_of(measured, benchmark)
        summaries = _summaries_of(measured, definition, on_warning)
    if against is None:
        ranked = build_board(summaries, definition)
    else:
        published = read_summaries(results.published_folder(against), definition, on_warning)
        joined = placing.join(summaries, published, definition)
        placed = rows_of(joined.summaries, definition)
        ranked, own = table_of(placed, definition), {placed.row_of[name] for name in joined.own}
        ranked = ranked.assign(own=ranked["model"].isin(own))
    board = Leaderboard(_sorted(ranked, sort, definition))
    if isinstance(columns, str) and columns.casefold() in ("short", "all"):
        columns = columns.casefold()
    render.select(board, definition, columns)
    board.definition, board.shown = definition, columns
    return board


def build_board(summaries: Iterable[Summary], benchmark: Benchmark) -> pd.DataFrame:
    """The leaderboard of summarised models, by rank; see `leaderboard`."""
    return table_of(rows_of(summaries, benchmark), benchmark)


class Rows(NamedTuple):
    """What the rows of a leaderboard are of: models, or the recipes of their training.

    Attributes:
        models: summaries by the id of the row; of a recipe that of its first network.
        statuses: of the rows.
        same_as: what `find_copies` says of them.
        row_of: the row of each network.
    """

    models: Mapping[str, Summary]
    statuses: Mapping[str, str]
    same_as: Mapping[str, str]
    row_of: Mapping[str, str]


def rows_of(summaries: Iterable[Summary], benchmark: Benchmark) -> Rows:
    """The rows of the leaderboard of summarised models, without ranks."""
    models = {summary.name: summary for summary in sorted(summaries, key=lambda summary: summary.name)}
    seeds = Counter(sorted(summary.evidence.seed for summary in models.values()))
    board_seed = benchmark.seed if benchmark.seed in seeds else seeds.most_common(1)[0][0]
    statuses = {name: eligibility.status(summary.evidence, benchmark, board_seed) for name, summary in models.items()}
    networks = {name: summary.network for name, summary in models.items() if summary.network is not None}
    records = {name: models[name].evidence.verification for name in networks}
    verified = [name for name, record in records.items() if record is not None and record.verdict == "verified"]
    copies = find_copies(networks, verified)
    if benchmark.ranking != "recipes":
        return Rows(models, statuses, copies, {name: name for name in models})
    joined = joining.join(models, statuses, benchmark)
    return Rows(joined.rows, joined.statuses, joining.outsiders(copies, joined.row_of, joined.rows), joined.row_of)


def table_of(rows: Rows, benchmark: Benchmark) -> pd.DataFrame:
    """The leaderboard of rows, by rank; see `leaderboard`."""
    board = _with_ranks(_unranked(rows, benchmark), rows.models, benchmark)
    return _sorted(_ordered_columns(board, benchmark), None, benchmark)


def benchmark_of(rows: pd.DataFrame, benchmark: str | Benchmark | None) -> Benchmark:
    """The benchmark that rows are of.

    Raises:
        ResultsError: there are none, none of the benchmark that is named, or they are of several and none is named.
    """
    if rows.empty:
        raise ResultsError("no rows to rank; expected the data frame that pagbench.run returns")
    if {"rank", "status", "entrant"} <= set(rows.columns):
        raise ResultsError("this is a leaderboard; give the rows that it was made of, as pagbench.run returns them")
    if not {"benchmark", "version", "entrant", "seed", "sample_id"} <= set(rows.columns):
        raise ResultsError(
            f"columns {list(rows.columns)[:5]} are not those of the data frame that pagbench.run returns"
        )
    labels = benchmarks_in(rows)
    if benchmark is None and len(labels) != 1:
        raise ResultsError(f"rows of several benchmarks ({', '.join(labels)}); name one with benchmark=")
    definition = benchmarks.load(benchmark or labels[0])
    if definition.label not in labels:
        raise ResultsError(f"no rows of {definition.label}; these are of {', '.join(labels)}")
    return definition


def _summaries_of(
    rows: pd.DataFrame, benchmark: Benchmark, on_warning: Callable[[str], object] = warn
) -> list[Summary]:
    """Summaries of the models of a data frame; rows of other benchmarks are left out."""
    declared = {str(name): declared_in(rows, str(name)) for name in rows["entrant"].unique()}
    weights = target_weights_in(rows)
    rows = rows.copy(deep=False)
    rows.attrs = {}  # or pandas would copy them at every step
    rows = distinct(rows[(rows["benchmark"] == benchmark.name) & (rows["version"] == benchmark.version)], benchmark)
    drawn = resampling.resample_samples(benchmark)
    found = [
        replace(summarise(group, benchmark, drawn, declared[str(name)]), target_weights=weights.get(str(name), {}))
        for name, group in rows.groupby("entrant")
    ]
    unknown = [
        one.name
        for one in found
        if declared[one.name].card is None and one.name not in weights and not one.evidence.control
    ]
    if unknown and benchmark.ranking == "recipes":
        subject = f"{unknown[0]} has" if len(unknown) == 1 else f"{len(unknown)} models have"
        on_warning(
            f"{subject} nothing in .attrs of the data frame, so that networks of one recipe rank apart; read them by "
            "pagbench.load_results, and give several data frames as a list"
        )
    return found


def distinct(rows: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
    """Each sample of a model once: runs that are put together all hold the anchors.

    Of a model with rows of several noise seeds, those of the benchmark's own seed are kept.

    Raises:
        ResultsError: one sample of a model has different values, or several seeds that are not the benchmark's.
    """
    seeds_of = rows.groupby("entrant")["seed"].agg(lambda seeds: sorted(set(seeds)))
    for name, seeds in seeds_of.items():
        if len(seeds) > 1 and benchmark.seed not in seeds:
            raise ResultsError(f"{name}: rows of the noise seeds {seeds}; keep those of one")
    several = rows["entrant"].map(seeds_of.map(len)) > 1
    rows = rows[~several | (rows["seed"] == benchmark.seed)]
    keys = ["entrant", "sample_id"]
    optional = [c.name for c in columns.sample_columns(benchmark, columns.OPTIONAL) if c.name in rows]
    repeated = rows[rows.duplicated(keys, keep=False)]
    measured = [column.name for column in columns.sample_columns(benchmark)]
    groups = repeated.groupby(keys)[measured]
    largest, smallest = groups.max(), groups.min()
    differing = (largest - smallest > _SAME * np.maximum(1, largest.abs())).any(axis=1)
    if differing.any():
        name, sample = differing.index[int(np.argmax(differing))]
        raise ResultsError(f"{name}: sample {sample} has different values; keep the rows of one run")
    if optional:  # one run has measured them, another has not
        rows = rows.assign(**{name: rows.groupby(keys)[name].transform("first") for name in optional})
    return rows.drop_duplicates(keys)


def _unranked(rows: Rows, benchmark: Benchmark) -> pd.DataFrame:
    """The rows as a data frame, without ranks."""
    models, statuses, copies, _ = rows
    anchors = () if missing_anchor(models, benchmark) else _anchors(benchmark)
    table = []
    for name, summary in models.items():
        judged = [models[key] for key in (name, *anchors)] if anchors else []
        meaningful = all(
            eligibility.has_result(statuses[other.name]) and other.is_paired_with(summary) for other in judged
        )
        regime = _regime([other.replicates for other in judged], benchmark) if judged and meaningful else {}
        none = {} if benchmark.no_target else dict.fromkeys(_REGIME)
        same = {"same_as": copies.get(name)}
        ceiling = _ceiling(summary, benchmark)
        bound = profile.columns_of(summary.entry, benchmark.sigmas)
        table.append(summary.entry | {"status": statuses[name]} | same | ceiling | bound | (regime or none))
    return pd.DataFrame(table)


def _ceiling(summary: Summary, benchmark: Benchmark) -> dict[str, float | None]:
    """What a perfect model would reach in the place of this one; empty where nobody has computed it."""
    known = validation.published(benchmark.label)
    if known is None or benchmark.alignment != "alignment_cosine" or benchmark.sigma not in known.ceilings:
        return {}
    chance = summary.entry["alignment_cosine_chance"]
    bounds = validation.corrected(known.ceilings[benchmark.sigma], chance)
    return dict(zip(("alignment_ceiling", "alignment_ceiling_low", "alignment_ceiling_high"), bounds, strict=True))


def _anchors(benchmark: Benchmark) -> tuple[str, ...]:
    """The two anchors of the regimes; none where the benchmark judges none."""
    if benchmark.reference is None or benchmark.bayes is None or benchmark.thresholds is None:
        return ()
    return benchmark.reference, benchmark.bayes


def missing_anchor(models: Collection[str], benchmark: Benchmark) -> str:
    """Why no regime can be judged, as half a sentence; empty where one can."""
    if benchmark.no_target:
        return benchmark.no_target
    anchors = _anchors(benchmark)
    if not anchors:
        return "there is no unregularised reference" if benchmark.reference is None else "it has no Bayes control"
    missing = [name for name in anchors if name not in models]
    return f"{missing[0]} is not measured (`pagbench run {missing[0]} -b {benchmark.label}`)" if missing else ""


def _regime(judged: Sequence[Replicates], benchmark: Benchmark) -> dict[str, str | float]:
    """The verdict on a model between the reference and the Bayes control; empty where there is none."""
    model, reference, bayes = (regimes.Anchored.of(values, benchmark) for values in judged)
    assert benchmark.thresholds is not None  # or no one is judged
    verdict = regimes.judge(model, reference, bayes, benchmark.thresholds)
    if verdict is None:
        return {}
    values = (verdict.regime, max(verdict.probabilities), *verdict.probabilities)
    return dict(zip(_REGIME, values, strict=True))


def _with_ranks(board: pd.DataFrame, models: Mapping[str, Summary], benchmark: Benchmark) -> pd.DataFrame:
    ranks = pd.DataFrame(index=board.index, columns=["rank", "rank_low", "rank_high"], dtype="Int64")
    is_ranked = board["status"] == eligibility.RANKED
    tracks = [board["track"] == track for track in joining.TRACKS] if "track" in board else [is_ranked]
    units = resampling.count(len(benchmark.samples), benchmark.classes)
    for chosen in (board.index[is_ranked & track] for track in tracks):
        if chosen.empty:
            continue
        scores = np.stack([models[name].rank_replicates for name in board.loc[chosen, "model"]], axis=1)
        ranks.loc[chosen, "rank"] = (-board.loc[chosen, "alignment"]).rank(method="min").astype("Int64")
        ranks.loc[chosen, ["rank_low", "rank_high"]] = statistics.rank_intervals(scores, units=units)
    if "n_networks" in board:
        board = board.assign(n_networks=board["n_networks"].astype("Int64"))
    return pd.concat([ranks, board], axis=1)


def _ordered_columns(board: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
    """The documented columns first, each with its bounds, then responses at every epsilon and the remaining means."""
    listed = [column.name for column in columns.all_board_columns(benchmark) if column.name in board]
    rest = [name for name in board.columns if name not in listed and not name.endswith(("_low", "_high"))]
    order: list[str] = []
    for name in [*listed, *rest]:
        order += [part for part in (name, f"{name}_low", f"{name}_high") if part in board and part not in order]
    return board[order]


def _sorted(board: pd.DataFrame, sort: str | None, benchmark: Benchmark) -> pd.DataFrame:
    by = "accuracy" if benchmark.no_target else "alignment"
    if sort is not None:
        if not isinstance(sort, str):
            raise ResultsError(f"sort {sort!r}: a leaderboard is sorted by one column; give its name")
        (found,) = columns.find_columns(benchmark, [sort], board.columns)
        by = found.name
        if board[by].map(lambda value: isinstance(value, (list, dict))).any():
            raise ResultsError(f"column {by!r} has lists, which have no order; sort by another")
    directions = {column.name: column.higher_is_better for column in columns.documented_columns(benchmark)}
    ordered = board.sort_values(
        by, ascending=not directions.get(re.sub("_(low|high)$", "", by)), na_position="last", kind="stable"
    )
    section = ordered["status"].map(
        lambda status: 0 if status == eligibility.RANKED else 2 if status.startswith("control") else 1
    )
    if "track" in ordered:
        section += 0.5 * ((section == 0) & (ordered["track"] == joining.ON_TARGET))
    return ordered.iloc[np.argsort(section.to_numpy(), kind="stable")].reset_index(drop=True)


class Agreement(NamedTuple):
    """Rank correlation of the board's alignment with another column, over ranked models.

    Attributes:
        column: the other column.
        spearman: rho with its 95 % interval over families.
        kendall: tau.
        models: number of models.
    """

    column: str
    spearman: Interval
    kendall: float
    models: int

    def sentence(self) -> str:
        """One line for below a table."""
        rho = self.spearman
        bounds = "[no interval]" if np.isnan(rho.low) else f"[{rho.low:.2f}, {rho.high:.2f}]"
        return (
            f"Ranking by {OTHER_TARGETS[self.column]} ({self.column}): Spearman {rho.value:.2f} {bounds} with this "
            f"one, Kendall {self.kendall:.2f}, over {self.models} ranked models (interval over families)."
        )


def agreements(board: pd.DataFrame, benchmark: Benchmark) -> list[Agreement]:
    """Agreement with every other alignment that the board has; none with fewer than five ranked models.

    Models that rank apart, since they are trained on the target, are no witnesses.
    """
    ranked = board[board["status"] == eligibility.RANKED]
    if "track" in ranked:
        ranked = ranked[ranked["track"] != joining.ON_TARGET]
    if len(ranked) < FEWEST:
        return []
    own, found = (benchmark.alignment, f"{benchmark.alignment}_corrected"), []
    for name in OTHER_TARGETS:
        both = ranked[ranked[name].notna()] if name in board and name not in own else ranked[:0]
        if len(both) >= FEWEST:
            x, y = both["alignment"].to_numpy(float), both[name].to_numpy(float)
            spearman = clustered_spearman(x, y, both["family"].tolist())
            found.append(Agreement(name, spearman, kendall(x, y), len(both)))
    return found
