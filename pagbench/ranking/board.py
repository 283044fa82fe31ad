"""The leaderboard as a data frame."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError
from pagbench.ranking import eligibility, regimes, statistics, summaries
from pagbench.ranking.summaries import Declared, Replicates, Summary
from pagbench.results.preflight import Preflight
from pagbench.results.verification import Verification

_SAME = 1e-4
_REGIME = ("regime", "regime_probability", "p_weak", "p_bayes_aligned", "p_excessive")


class Ranked(NamedTuple):
    """A leaderboard, and by model the bootstrap replicates of every statistic, the estimate first."""

    board: pd.DataFrame
    replicates: Mapping[str, Replicates]


def leaderboard(
    rows: pd.DataFrame | str | Path, *, benchmark: str | Benchmark | None = None, sort: str | None = None
) -> pd.DataFrame:
    """Ranks models by alignment, with 95 % intervals, rank intervals and regimes; those need both anchors' rows.

    Args:
        rows: per-sample rows as `pagbench.run` returns them, or a results folder. Data frames that are put together by
            `pandas.concat` lose their pre-flight cards and verifications.
        benchmark: needed where the rows, or the folder, hold more than one.
        sort: column to order by, best first (or ascending where neither direction is better); rank by default.

    Returns:
        One row per model, columns as in `pagbench.columns.BOARD_COLUMNS`, every measured value with `_low` and
        `_high`.

    Raises:
        ResultsError: no rows, rows of several benchmarks, or an unknown column to sort by.
    """
    if isinstance(rows, pd.DataFrame):
        definition = _benchmark_of(rows, benchmark)
        found = ranked(rows, definition)
    else:
        definition = benchmark if isinstance(benchmark, Benchmark) else benchmarks.load(benchmark or "digits")
        found = of(summaries.read(results.local(rows), definition), definition)
    return _sorted(found.board, sort, definition)


def shown(folder: Path, benchmark: Benchmark, only: Collection[str]) -> pd.DataFrame:
    """The leaderboard of a results folder, by rank, with no more statistics than are made of these columns of its rows.

    Args:
        folder: the results folder.
        benchmark: the definition.
        only: per-sample columns, as `render.sources` names those of a table.

    Raises:
        ResultsError: see `results.each`.
    """
    return of(summaries.read(folder, benchmark, only), benchmark).board


def ranked(rows: pd.DataFrame, benchmark: Benchmark) -> Ranked:
    """The leaderboard of a benchmark, sorted by rank, with the replicates that it was computed from.

    Args:
        rows: as for `leaderboard`.
        benchmark: the definition; rows of others are left out.

    Raises:
        ResultsError: one sample of a model has different values.
    """
    said, rows = rows.attrs, rows.copy(deep=False)
    rows.attrs = {}  # or pandas would copy them at every step
    rows = _distinct(rows[(rows["benchmark"] == benchmark.name) & (rows["version"] == benchmark.version)], benchmark)
    weights = statistics.resampling_weights(len(benchmark.samples), seed=benchmark.seed)
    groups = rows.groupby("entrant")
    return of(
        [summaries.of(group, benchmark, weights, _declared(said, str(name))) for name, group in groups], benchmark
    )


def _declared(said: Mapping[Any, Mapping[str, Any]], name: str) -> Declared:
    """What `results.joined` keeps of a model in `.attrs`."""
    card, rerun = said.get("preflight", {}).get(name), said.get("verifications", {}).get(name)
    return Declared(
        None if card is None else Preflight.model_validate(card),
        None if rerun is None else Verification.model_validate(rerun),
        said.get("licenses", {}).get(name),
        said.get("trained_on_target", {}).get(name),
    )


def of(models: Sequence[Summary], benchmark: Benchmark) -> Ranked:
    """The leaderboard of models of which only the summaries are left; see `ranked`."""
    listed = sorted(models, key=lambda summary: summary.name)
    replicates = {summary.name: summary.replicates for summary in listed}
    board = _with_ranks(_board({summary.name: summary for summary in listed}, benchmark), replicates)
    return Ranked(_sorted(_ordered_columns(board, benchmark), None, benchmark), replicates)


def _distinct(rows: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
    """Each sample of a model once: runs that are put together all hold the anchors.

    Of a model with rows of several noise seeds, those of the benchmark's own seed are kept.

    Raises:
        ResultsError: one sample of a model has different values, or several seeds that are not the benchmark's.
    """
    found = rows.groupby("entrant")["seed"].agg(lambda seeds: sorted(set(seeds)))
    for name, seeds in found.items():
        if len(seeds) > 1 and benchmark.seed not in seeds:
            raise ResultsError(f"{name}: rows of the noise seeds {seeds}; keep those of one")
    several = rows["entrant"].map(found.map(len)) > 1
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


def _benchmark_of(rows: pd.DataFrame, benchmark: str | Benchmark | None) -> Benchmark:
    if rows.empty:
        raise ResultsError("no rows to rank; expected the data frame that pagbench.run returns")
    if not {"benchmark", "version", "entrant", "seed", "sample_id"} <= set(rows.columns):
        raise ResultsError(
            f"columns {list(rows.columns)[:5]} are not those of the data frame that pagbench.run returns"
        )
    if isinstance(benchmark, Benchmark):
        return benchmark
    if benchmark is not None:
        return benchmarks.load(benchmark)
    labels = sorted({f"{name}@{version}" for name, version in zip(rows["benchmark"], rows["version"], strict=True)})
    if len(labels) != 1:
        raise ResultsError(f"rows of several benchmarks ({', '.join(labels)}); name one with benchmark=")
    return benchmarks.load(labels[0])


def _board(models: Mapping[str, Summary], benchmark: Benchmark) -> pd.DataFrame:
    """One row per model, without ranks."""
    seeds = {summary.evidence.seed for summary in models.values()}
    board_seed = benchmark.seed if benchmark.seed in seeds else min(seeds)
    statuses = {
        name: eligibility.status(
            summary.evidence, benchmark, board_seed, summary.declared.preflight, summary.declared.verification
        )
        for name, summary in models.items()
    }
    anchors = () if lacking_anchor(models, benchmark) else _between(benchmark)
    table = []
    for name, summary in models.items():
        judged = [models[key] for key in (name, *anchors)] if anchors else []
        meaningful = all(
            eligibility.has_result(statuses[other.name]) and other.noise == summary.noise for other in judged
        )
        regime = _regime([other.replicates for other in judged], benchmark) if judged and meaningful else {}
        table.append(summary.entry | {"status": statuses[name]} | (regime or dict.fromkeys(_REGIME)))
    return pd.DataFrame(table)


def _between(benchmark: Benchmark) -> tuple[str, ...]:
    """The two anchors of the regimes; none where the benchmark judges none."""
    if benchmark.reference is None or benchmark.bayes is None or benchmark.thresholds is None:
        return ()
    return benchmark.reference, benchmark.bayes


def lacking_anchor(found: Collection[str], benchmark: Benchmark) -> str:
    """Why no regime can be judged, as half a sentence; empty where one can."""
    anchors = _between(benchmark)
    if not anchors:
        return "there is no unregularised reference" if benchmark.reference is None else "it has no Bayes control"
    missing = [name for name in anchors if name not in found]
    return f"{missing[0]} is not measured (`pagbench run {missing[0]} -b {benchmark.name}`)" if missing else ""


def _regime(judged: Sequence[Replicates], benchmark: Benchmark) -> dict[str, str | float]:
    """The verdict on a model between the reference and the Bayes control; empty where there is none."""
    model, reference, bayes = (
        regimes.Anchored(values["tangent_energy"][1:], values["on_response"][1:], values["accuracy"][1:])
        for values in judged
    )
    assert benchmark.thresholds is not None  # or no one is judged
    verdict = regimes.judge(model, reference, bayes, benchmark.thresholds)
    if verdict is None:
        return {}
    found = (verdict.regime, max(verdict.probabilities), *verdict.probabilities)
    return dict(zip(_REGIME, found, strict=True))


def _with_ranks(board: pd.DataFrame, replicates: Mapping[str, Replicates]) -> pd.DataFrame:
    ranks = pd.DataFrame(index=board.index, columns=["rank", "rank_low", "rank_high"], dtype="Int64")
    chosen = board.index[board["status"] == eligibility.RANKED]
    if len(chosen):
        scores = np.stack([replicates[name]["alignment"] for name in board.loc[chosen, "model"]], axis=1)
        ranks.loc[chosen, "rank"] = (-board.loc[chosen, "alignment"]).rank(method="min").astype("Int64")
        ranks.loc[chosen, ["rank_low", "rank_high"]] = statistics.rank_intervals(scores)
    return pd.concat([ranks, board], axis=1)


def _ordered_columns(board: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
    """The documented columns first, each with its bounds, then responses at every epsilon and the remaining means."""
    documented = [*columns.BOARD_COLUMNS, *columns.optional_board_columns(benchmark)]
    listed = [column.name for column in documented if column.name in board]
    rest = [name for name in board.columns if name not in listed and not name.endswith(("_low", "_high"))]
    order: list[str] = []
    for name in [*listed, *rest]:
        order += [part for part in (name, f"{name}_low", f"{name}_high") if part in board and part not in order]
    return board[order]


def _sorted(board: pd.DataFrame, sort: str | None, benchmark: Benchmark) -> pd.DataFrame:
    if sort is not None and sort not in board:
        known = ", ".join(name for name in board.columns if not name.endswith(("_low", "_high")))
        raise ResultsError(f"no column {sort!r} to sort by; columns: {known}")
    documented = [*columns.BOARD_COLUMNS, *columns.optional_board_columns(benchmark)]
    directions = {column.name: column.higher_is_better for column in documented}
    by = sort or "alignment"
    ordered = board.sort_values(by, ascending=not directions.get(by), na_position="last", kind="stable")
    place = ordered["status"].map(
        lambda status: 0 if status == eligibility.RANKED else 1 if "control" not in status else 2
    )
    return ordered.iloc[np.argsort(place.to_numpy(), kind="stable")].reset_index(drop=True)
