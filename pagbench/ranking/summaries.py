"""What the leaderboard keeps of a model's rows: its entry, bootstrap replicates, and what decides its rank."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import columns, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.columns import epsilon_name
from pagbench.ranking import eligibility, statistics
from pagbench.ranking.eligibility import Evidence
from pagbench.results import Result
from pagbench.results.preflight import Preflight
from pagbench.results.verification import SELF_REPORTED, Verification

Replicates = Mapping[str, NDArray[np.float64]]

_COMPARED = ("alignment", "accuracy", "tangent_energy", "on_response")
"""Statistics whose replicates ranks and regimes are judged by."""
_PAIRS = {name: f"{name}_chance" for name in ("alignment_lpips", "alignment_cosine", "alignment_second")}
_RATIOS = {
    "log_ratio": ("off_response", "on_response"),
    "log_ratio_calibrated": ("off_response_calibrated", "on_response_calibrated"),
    "log_ratio_infinitesimal": ("off_sensitivity", "on_sensitivity"),
    "paper_log_ratio": ("paper_off_response", "paper_on_response"),
}
_FIXED = ("temperature", "temperature_low", "temperature_high")


class Declared(NamedTuple):
    """What is known of a model beside its rows; None where nothing is."""

    preflight: Preflight | None = None
    verification: Verification | None = None
    license: str | None = None
    trained_on_target: bool | None = None


@dataclass(frozen=True)
class Summary:
    """One model on a benchmark.

    Attributes:
        name: its id.
        entry: its columns of the leaderboard that depend on no other model.
        evidence: what its rows say of its eligibility.
        noise: which samples it has, and the noise seed; replicates of models that agree in it are paired.
        declared: what is known beside the rows.
        replicates: of every statistic over images, shape (1 + replicates,) each, the estimate first.
    """

    name: str
    entry: dict[str, Any]
    evidence: Evidence
    noise: tuple[bytes, int]
    declared: Declared
    replicates: Replicates

    def compared(self) -> "Summary":
        """The same with nothing but the replicates that models are compared by."""
        kept = {name: self.replicates[name].copy() for name in _COMPARED if name in self.replicates}
        return replace(self, replicates=kept)


def read(folder: Path, benchmark: Benchmark, only: Collection[str] | None = None) -> list[Summary]:
    """Summaries of every model of a results folder, without replicates that the leaderboard does not need.

    The rows of a few models at a time are in memory.

    Args:
        folder: the results folder.
        benchmark: the definition.
        only: see `of`.

    Raises:
        ResultsError: see `results.each`.
    """
    weights = statistics.resampling_weights(len(benchmark.samples), seed=benchmark.seed)
    return results.each(folder, benchmark, lambda result: of_result(result, benchmark, weights, only).compared())


def of_result(
    result: Result, benchmark: Benchmark, weights: NDArray[np.float64], only: Collection[str] | None = None
) -> Summary:
    """Summary of a model's results as read from a folder."""
    card = ModelCard.model_validate(result.provenance["card"])
    declared = Declared(result.preflight, result.verification, card.license, card.trained_on_target)
    return of(result.rows, benchmark, weights, declared, only)


def of(
    rows: pd.DataFrame,
    benchmark: Benchmark,
    weights: NDArray[np.float64],
    declared: Declared,
    only: Collection[str] | None = None,
) -> Summary:
    """Summary of the rows of one model, each sample once.

    Args:
        rows: one per sample.
        benchmark: the definition.
        weights: how often each of its samples is drawn in each replicate, `statistics.resampling_weights`.
        declared: what is known beside the rows.
        only: the benchmark's per-sample columns that statistics are made of; all by default.
    """
    rows = _with_certified(rows)
    places = results.positions(rows["sample_id"], benchmark)
    measured = np.zeros(len(benchmark.samples), dtype=bool)
    measured[places[places >= 0]] = True
    found = eligibility.evidence(rows, benchmark)
    replicates = _replicates(rows, places, benchmark, weights, only)
    entry = _entry(rows, benchmark, found, declared) | _intervals(rows, replicates)
    noise = np.packbits(measured).tobytes(), found.seed
    return Summary(str(rows["entrant"].iloc[0]), entry, found, noise, declared, replicates)


def _entry(rows: pd.DataFrame, benchmark: Benchmark, found: Evidence, declared: Declared) -> dict[str, Any]:
    partial = _partial(rows, benchmark)
    return {
        "model": str(rows["entrant"].iloc[0]),
        "family": rows["family"].iloc[0],
        "strength": rows["strength"].iloc[0],
        "control": found.control,
        "n_scored": found.images - found.unscored,
        "n_total": found.images,
        "license": declared.license,
        "score_license": _score_licence(benchmark),
        "trained_on_target": declared.trained_on_target,
        "preflight": None if declared.preflight is None else declared.preflight.summary(),
        "verification": SELF_REPORTED if declared.verification is None else declared.verification.summary(),
        **({columns.PARTIAL_MEASURES: partial} if partial else {}),
    }


def _partial(rows: pd.DataFrame, benchmark: Benchmark) -> str:
    """Which optional measures of a model were taken of some of its images only; empty where none was."""
    told = []
    for measure in columns.OPTIONAL:
        names = [c.name for c in columns.sample_columns(benchmark, [measure]) if c.name in rows and not c.shared]
        count = int(rows[names].notna().sum().min()) if names else 0
        asked = min(len(rows), len(columns.samples_of(benchmark, measure)))
        if 0 < count < asked:
            told.append(f"{measure} on {count} of {asked} images")
    return ", ".join(told)


def _with_certified(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with what the board averages of certificates: correct at each radius, and correct radius."""
    if "certified_radius" not in rows:
        return rows
    correct, radius = rows["certified_correct"], rows["certified_radius"]
    certified = {f"certified_accuracy_{r:g}": correct * (radius >= r) for r in columns.CERTIFIED_RADII}
    return rows.assign(**certified, average_certified_radius=correct * radius)


def _score_licence(benchmark: Benchmark) -> str | None:
    cards = [benchmark.score, *([benchmark.second.score] if benchmark.second else [])]
    return ", ".join(dict.fromkeys(card.license for card in cards if card.license)) or None


def _replicates(
    rows: pd.DataFrame,
    places: NDArray[np.int64],
    benchmark: Benchmark,
    weights: NDArray[np.float64],
    only: Collection[str] | None,
) -> Replicates:
    names = [c.name for c in columns.sample_columns(benchmark) if c.name not in _FIXED]
    names = [name for name in names if only is None or name in only]
    names += [c.name for c in columns.optional_board_columns(benchmark) if c.name in rows]
    values = rows[names].to_numpy(float)
    if not results.whole(places, benchmark):
        known, values = values[places >= 0], np.full((len(benchmark.samples), len(names)), np.nan)
        values[places[places >= 0]] = known
    return _statistics(dict(zip(names, statistics.weighted_means(weights, values).T, strict=True)), benchmark)


def _statistics(means: Replicates, benchmark: Benchmark) -> Replicates:
    """The means, and what is computed from them."""
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
    for name, (off, on) in _RATIOS.items():
        if off in found:
            found[name] = log_ratio(found[off], found[on])
    return found


def log_ratio(off: NDArray[np.float64], on: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(off/on); NaN where one of them is no more than float32's rounding."""
    resolved = np.minimum(off, on) > eligibility.MIN_RESPONSE
    return np.log(np.where(resolved, off, np.nan) / np.where(resolved, on, np.nan))


def _intervals(rows: pd.DataFrame, replicates: Replicates) -> dict[str, float]:
    entry: dict[str, float] = {}
    found = statistics.intervals(np.stack(list(replicates.values()), axis=1))
    for name, estimate in zip(replicates, found, strict=True):
        entry |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return entry | {name: float(rows[name].iloc[0]) for name in _FIXED if name in rows}
