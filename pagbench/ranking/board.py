"""The leaderboard as a data frame."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import benchmarks, columns, regimes, results, statistics
from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name
from pagbench.errors import ResultsError
from pagbench.preflight import Preflight
from pagbench.ranking import eligibility
from pagbench.verification import SELF_REPORTED, Verification

Replicates = Mapping[str, NDArray[np.float64]]

_SAME = 1e-4
_PAIRS = {name: f"{name}_chance" for name in ("alignment_lpips", "alignment_cosine", "alignment_second")}
_REGIME = ("regime", "regime_probability", "p_weak", "p_bayes_aligned", "p_excessive")
_FIXED = ("temperature", "temperature_low", "temperature_high")


class Ranked(NamedTuple):
    """A leaderboard, and by entrant the bootstrap replicates of every statistic, the estimate first."""

    board: pd.DataFrame
    replicates: Mapping[str, Replicates]


def leaderboard(
    rows: pd.DataFrame | str | Path, *, benchmark: str | Benchmark | None = None, sort: str | None = None
) -> pd.DataFrame:
    """Ranks entrants by alignment, with 95 % intervals, rank intervals and regimes; those need both anchors' rows.

    Args:
        rows: per-sample rows as `pagbench.run` returns them, or a results folder. Data frames that are put together by
            `pandas.concat` lose their pre-flight cards and verifications.
        benchmark: needed where the rows, or the folder, hold more than one.
        sort: column to order by, best first (or ascending where neither direction is better); rank by default.

    Returns:
        One row per entrant, columns as in `pagbench.columns.BOARD_COLUMNS`, every measured value with `_low` and
        `_high`.

    Raises:
        ResultsError: no rows, rows of several benchmarks, or an unknown column to sort by.
    """
    if isinstance(rows, pd.DataFrame):
        definition = _benchmark_of(rows, benchmark)
    else:
        definition = benchmark if isinstance(benchmark, Benchmark) else benchmarks.load(benchmark or "digits")
        rows = results.joined(results.read_all(results.local(rows), definition))
    return _sorted(ranked(rows, definition).board, sort, definition)


def ranked(rows: pd.DataFrame, benchmark: Benchmark) -> Ranked:
    """The leaderboard of a benchmark, sorted by rank, with the replicates that it was computed from.

    Args:
        rows: as for `leaderboard`.
        benchmark: the definition; rows of others are left out.

    Raises:
        ResultsError: one sample of an entrant has different values.
    """
    said, rows = rows.attrs, rows.copy(deep=False)
    rows.attrs = {}  # or pandas would copy them at every step
    rows = rows[(rows["benchmark"] == benchmark.name) & (rows["version"] == benchmark.version)]
    rows = _with_certified(_distinct(rows, benchmark))
    groups = {str(name): group for name, group in rows.groupby("entrant", sort=True)}
    weights = statistics.resampling_weights(len(benchmark.samples), seed=benchmark.seed)
    replicates = {name: replicates_of(group, benchmark, weights) for name, group in groups.items()}
    board = _with_ranks(_board(groups, benchmark, replicates, said), replicates)
    return Ranked(_sorted(_ordered_columns(board, benchmark), None, benchmark), replicates)


def _distinct(rows: pd.DataFrame, benchmark: Benchmark) -> pd.DataFrame:
    """Each sample of an entrant once: runs that are put together all hold the anchors.

    Of an entrant with rows of several noise seeds, those of the benchmark's own seed are kept.

    Raises:
        ResultsError: one sample of an entrant has different values, or several seeds that are not the benchmark's.
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


def _board(
    groups: Mapping[str, pd.DataFrame],
    benchmark: Benchmark,
    replicates: Mapping[str, Replicates],
    said: Mapping[Any, Mapping[str, Any]],
) -> pd.DataFrame:
    """One row per entrant, without ranks. `said` is what `results.joined` keeps in `.attrs`."""
    cards = {name: Preflight.model_validate(card) for name, card in said.get("preflight", {}).items()}
    reruns = {name: Verification.model_validate(kept) for name, kept in said.get("verifications", {}).items()}
    seeds = {int(seed) for group in groups.values() for seed in group["seed"].unique()}
    board_seed = benchmark.seed if benchmark.seed in seeds else min(seeds)
    statuses = {
        name: eligibility.status(group, benchmark, board_seed, cards.get(name), reruns.get(name))
        for name, group in groups.items()
    }
    noise = {name: (frozenset(group["sample_id"]), frozenset(group["seed"])) for name, group in groups.items()}
    anchors = () if lacking_anchor(groups, benchmark) else _between(benchmark)
    table = []
    for name, group in groups.items():
        entry = {
            "model": name,
            "family": group["family"].iloc[0],
            "strength": group["strength"].iloc[0],
            "control": bool(group["control"].iloc[0]),
            "n_scored": int(group[benchmark.alignment].notna().sum()),
            "n_total": len(group),
            "license": said.get("licenses", {}).get(name),
            "score_license": _score_licence(benchmark),
            "trained_on_target": said.get("trained_on_target", {}).get(name),
            "status": statuses[name],
            "preflight": cards[name].summary() if name in cards else None,
            "verification": reruns[name].summary() if name in reruns else SELF_REPORTED,
        }
        if partial := _partial(group, benchmark):
            entry[columns.PARTIAL_MEASURES] = partial
        judged = (name, *anchors) if anchors else ()
        meaningful = all(eligibility.has_result(statuses[key]) and noise[key] == noise[name] for key in judged)
        regime = _regime([replicates[key] for key in judged], benchmark) if judged and meaningful else {}
        table.append(entry | _intervals(group, replicates[name]) | (regime or dict.fromkeys(_REGIME)))
    return pd.DataFrame(table)


def _partial(group: pd.DataFrame, benchmark: Benchmark) -> str:
    """Which optional measures of an entrant were taken of some of its images only; empty where none was."""
    told = []
    for measure in columns.OPTIONAL:
        names = [c.name for c in columns.sample_columns(benchmark, [measure]) if c.name in group]
        count = int(group[names].notna().any(axis=1).sum()) if names else 0
        if 0 < count < len(group):
            told.append(f"{measure} on {count} of {len(group)} images")
    return ", ".join(told)


def _with_certified(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with what the board averages of certificates: correct at each radius, and correct radius."""
    if "certified_radius" not in rows:
        return rows
    correct, radius = rows["certified_correct"], rows["certified_radius"]
    certified = {f"certified_accuracy_{r:g}": correct * (radius >= r) for r in columns.CERTIFIED_RADII}
    return rows.assign(**certified, average_certified_radius=correct * radius)


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


def _score_licence(benchmark: Benchmark) -> str | None:
    cards = [benchmark.score, *([benchmark.second.score] if benchmark.second else [])]
    return ", ".join(dict.fromkeys(card.license for card in cards if card.license)) or None


def replicates_of(group: pd.DataFrame, benchmark: Benchmark, weights: NDArray[np.float64]) -> Replicates:
    """Bootstrap replicates of every statistic of one entrant; the first entry is the estimate."""
    names = [c.name for c in columns.sample_columns(benchmark) if c.name not in _FIXED]
    names += [c.name for c in columns.optional_board_columns(benchmark) if c.name in group]
    aligned = group.set_index("sample_id")[names].reindex(list(benchmark.samples))
    means = dict(zip(names, statistics.weighted_means(weights, aligned.to_numpy(float)).T, strict=True))
    found = dict(means)
    found["accuracy"] = found.pop("correct")
    for name, chance in _PAIRS.items():
        if name in means:
            found[f"{name}_corrected"] = (means[name] - means[chance]) / (1 - means[chance])
    found["alignment"] = means[benchmark.alignment] if benchmark.by_paper else found[f"{benchmark.alignment}_corrected"]
    if benchmark.epsilon is not None:
        chance_energy = benchmark.rank / benchmark.dimension
        found["tangent_energy_corrected"] = (means["tangent_energy"] - chance_energy) / (1 - chance_energy)
        for side in ("on", "off"):
            found[f"{side}_response"] = means[epsilon_name(f"{side}_response", benchmark.epsilon)]
        found["log_ratio"] = _log_ratio(found["off_response"], found["on_response"])
        calibrated = (means["off_response_calibrated"], means["on_response_calibrated"])
        found["log_ratio_calibrated"] = _log_ratio(*calibrated)
    if "off_sensitivity" in means:
        found["log_ratio_infinitesimal"] = _log_ratio(means["off_sensitivity"], means["on_sensitivity"])
    if "paper_on_response" in means:
        found["paper_log_ratio"] = _log_ratio(means["paper_off_response"], means["paper_on_response"])
    return found


def _log_ratio(off: NDArray[np.float64], on: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(off/on); NaN where one of them is no more than float32's rounding."""
    resolved = np.minimum(off, on) > eligibility.MIN_RESPONSE
    return np.log(np.where(resolved, off, np.nan) / np.where(resolved, on, np.nan))


def _intervals(group: pd.DataFrame, replicates: Replicates) -> dict[str, float]:
    entry: dict[str, float] = {}
    found = statistics.intervals(np.stack(list(replicates.values()), axis=1))
    for name, estimate in zip(replicates, found, strict=True):
        entry |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return entry | {name: float(group[name].iloc[0]) for name in _FIXED if name in group}


def _regime(judged: Sequence[Replicates], benchmark: Benchmark) -> dict[str, str | float]:
    """The verdict on an entrant between the reference and the Bayes control; empty where there is none."""
    entrant, reference, bayes = (
        regimes.Anchored(values["tangent_energy"][1:], values["on_response"][1:], values["accuracy"][1:])
        for values in judged
    )
    assert benchmark.thresholds is not None  # or no one is judged
    verdict = regimes.judge(entrant, reference, bayes, benchmark.thresholds)
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
