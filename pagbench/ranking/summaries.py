"""What the leaderboard keeps of a model's rows: its entry, bootstrap replicates, and what decides its rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pagbench import columns, results
from pagbench.benchmarks import Benchmark
from pagbench.columns import epsilon_name, sigma_name
from pagbench.ranking import eligibility, profile, resampling, statistics
from pagbench.ranking.copies import Network
from pagbench.ranking.eligibility import Evidence
from pagbench.ranking.recipes import Recipe, recipe_of
from pagbench.ranking.resampling import Resampling
from pagbench.results import Declared, Result
from pagbench.results.agreement import voice_of
from pagbench.results.store import labels_of
from pagbench.results.verification import standing

Values = Mapping[str, NDArray[np.float64]]
Replicates = Values

COMPARED = ("alignment", "accuracy", "tangent_energy", "on_response", "alignment_peak_sigma")
"""Statistics whose replicates ranks and regimes are judged by."""
DERIVED = ("alignment", "tangent_energy_corrected", "on_response", "off_response")
"""Statistics that another one is, or is a linear function of."""
PROFILE = ("alignment_peak", "alignment_peak_sigma")
"""Statistics of the profile: of the mean over networks, not the mean of them."""
_PAIRS = {name: f"{name}_chance" for name in ("alignment_lpips", "alignment_cosine", "alignment_second")}
_RATIOS = {
    "log_ratio": ("off_response", "on_response"),
    "log_ratio_calibrated": ("off_response_calibrated", "on_response_calibrated"),
    "log_ratio_infinitesimal": ("off_sensitivity", "on_sensitivity"),
    "paper_log_ratio": ("paper_off_response", "paper_on_response"),
}
_FIXED = ("temperature", "temperature_low", "temperature_high")


@dataclass(frozen=True)
class Summary:
    """One model on a benchmark.

    Attributes:
        name: its id.
        entry: its columns of the leaderboard that depend on no other model.
        evidence: what decides whether it takes a rank.
        measured: which of the benchmark's samples it has, one bit each; replicates of models that agree in it, and in
            the noise seed, are paired.
        replicates: of every statistic over images, shape (1 + `statistics.REPLICATES`,) each, the estimate first.
        rank_replicates: of alignment, which ranks; these and more, shape (1 + `resampling.RANK_REPLICATES`,); empty
            where there is no target.
        labels: class of each of the benchmark's samples, -1 where it was not measured.
        target_weights: hash of each network behind the targets that it was measured with, where it is known.
        network: what tells its network from others; None for controls, and for rows without provenance.
        recipe: what it was trained by, but for the seed; None for a model of its own.
        training_seed: of that training.
    """

    name: str
    entry: dict[str, Any]
    evidence: Evidence
    measured: bytes
    replicates: Replicates
    rank_replicates: NDArray[np.float64]
    labels: NDArray[np.int16]
    target_weights: Mapping[str, str] = field(default_factory=dict)
    network: Network | None = None
    recipe: Recipe | None = None
    training_seed: int | None = None

    def is_paired_with(self, other: "Summary") -> bool:
        """Whether both were measured on the same samples with the same noise."""
        return self.measured == other.measured and self.evidence.seed == other.evidence.seed


def compared(summary: Summary, benchmark: Benchmark) -> Summary:
    """The same with no replicates but those that models are compared by, or that recipes are made of."""
    if benchmark.ranking == "recipes":
        return thinned(summary, benchmark)
    kept = {name: summary.replicates[name].copy() for name in COMPARED if name in summary.replicates}
    return replace(summary, replicates=kept)


def thinned(summary: Summary, benchmark: Benchmark) -> Summary:
    """The same with the replicates of means alone; shorter ones of what decides nothing."""
    full = {"accuracy", "tangent_energy", benchmark.alignment, _PAIRS.get(benchmark.alignment)}
    if benchmark.epsilon is not None:
        full |= {epsilon_name(f"{side}_response", benchmark.epsilon) for side in ("on", "off")}
    if benchmark.sigmas is not None:
        full |= {sigma_name(f"alignment_at{part}", sigma) for sigma in benchmark.sigmas for part in ("", "_chance")}
    computed = {*_RATIOS, *DERIVED, *PROFILE, *(f"{name}_corrected" for name in _PAIRS)}
    kept: dict[str, Any] = {
        name: values if name in full else values.astype(np.float32)
        for name, values in summary.replicates.items()
        if name not in computed and not name.startswith("alignment_profile_")
    }
    return replace(summary, replicates=kept)


def summarise_result(result: Result, benchmark: Benchmark, drawn: Resampling) -> Summary:
    """Summary of a model's results as read from a folder."""
    summary = summarise(result.rows, benchmark, drawn, result.declared)
    return replace(summary, target_weights=result.provenance.target_weights)


def summarise(rows: pd.DataFrame, benchmark: Benchmark, drawn: Resampling, declared: Declared) -> Summary:
    """Summary of the rows of one model, each sample once.

    Args:
        rows: one per sample.
        benchmark: the definition.
        drawn: how often its samples are drawn in each replicate, `resampling.resample_samples`.
        declared: what is known beside the rows.
    """
    rows = _with_certified(rows)
    name, positions = str(rows["entrant"].iloc[0]), results.positions(rows["sample_id"], benchmark)
    measured = np.zeros(len(benchmark.samples), dtype=bool)
    measured[positions[positions >= 0]] = True
    values = _values(rows, positions, benchmark)
    if resampling.are_few(drawn, measured):
        drawn = resampling.one_by_one(measured, seed=benchmark.seed)
    means = _means(drawn.first(statistics.REPLICATES), values)
    replicates = _statistics(dict(means) | _of_few_blocks(values, drawn, benchmark), benchmark)
    ranking = (benchmark.alignment, _PAIRS.get(benchmark.alignment))
    aligned = {name: values[name] for name in ranking if name is not None and name in values}
    ranked = np.empty(0) if benchmark.no_target else _alignment(_means(drawn, aligned), benchmark)
    evidence = eligibility.evidence(rows, benchmark, declared.preflight, declared.verification)
    # of a partial result some replicates draw nothing
    alignments = replicates.get("alignment", np.zeros(1))[: None if measured.all() else 1]
    if not (benchmark.no_target or evidence.unscored or np.isfinite(alignments).all()):
        evidence = evidence._replace(no_result=evidence.no_result or eligibility.NO_ALIGNMENT)
    score_cards = [benchmark.score, *([benchmark.second.score] if benchmark.second else [])]
    partial, card = _partial(rows, benchmark), declared.card
    attacks = [column.name for measure in columns.ATTACKS for column in columns.added_columns(benchmark, measure)]
    attacked = any(name in values and not np.isnan(values[name]).all() for name in attacks)
    draws = card.smoothing.samples if attacked and card is not None and card.smoothing is not None else None
    entry = {
        "model": name,
        "family": rows["family"].iloc[0],
        "strength": rows["strength"].iloc[0],
        "control": evidence.control,
        **({} if benchmark.no_target else {"n_scored": evidence.images - evidence.unscored}),
        "n_total": evidence.images,
        "license": declared.license,
        "score_license": ", ".join(dict.fromkeys(card.license for card in score_cards if card.license)) or None,
        "trained_on_target": declared.trained_on_target,
        "preflight": None if declared.preflight is None else declared.preflight.summary(),
        "verification": standing(declared.verification, declared.embargo),
        **({columns.PARTIAL_MEASURES: partial} if partial else {}),
        **({columns.ATTACKED_DRAWS: draws} if draws else {}),
        **({"seconds_per_image": declared.seconds_per_image} if benchmark.no_target else {}),
    }
    for statistic, estimate in zip(replicates, statistics.intervals(np.stack(list(replicates.values()))), strict=True):
        entry |= {statistic: estimate.value, f"{statistic}_low": estimate.low, f"{statistic}_high": estimate.high}
    if not benchmark.hides("response"):
        entry |= {fixed: float(rows[fixed].iloc[0]) for fixed in _FIXED if fixed in rows}
    compared = None if evidence.control else declared.network
    network = None if compared is None else Network.of(*compared, benchmark.classes)
    labels = labels_of(rows, benchmark)
    voice = voice_of(submitted=declared.submitted, record=declared.verification)
    return Summary(
        name,
        entry,
        evidence,
        np.packbits(measured).tobytes(),
        replicates,
        ranked,
        labels,
        network=network,
        recipe=None if card is None else recipe_of(card, voice),
        training_seed=None if card is None else card.seed,
    )


def _partial(rows: pd.DataFrame, benchmark: Benchmark) -> str:
    """Which optional measures of a model were taken of some of its images only; empty where none was."""
    partial = []
    for measure in columns.OPTIONAL:
        names = [c.name for c in columns.sample_columns(benchmark, [measure]) if c.name in rows and not c.shared]
        count = min((int(rows[name].count()) for name in names), default=0)
        expected = min(len(rows), len(columns.samples_of(benchmark, measure)))
        if 0 < count < expected:
            partial.append(f"{measure} on {count} of {expected} images")
    return ", ".join(partial)


def _with_certified(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with what the board averages of certificates: correct at each radius, and correct radius."""
    if "certified_radius" not in rows:
        return rows
    correct, radius = rows["certified_correct"], rows["certified_radius"]
    certified = {f"certified_accuracy_{r:g}": correct * (radius >= r) for r in columns.CERTIFIED_RADII}
    return rows.assign(**certified, average_certified_radius=correct * radius)


def _values(rows: pd.DataFrame, positions: NDArray[np.int64], benchmark: Benchmark) -> Values:
    """Columns whose means are shown, a value for each of the benchmark's samples; NaN where it was not measured."""
    names = [c.name for c in columns.sample_columns(benchmark) if c.name not in _FIXED]
    names += [c.name for c in columns.optional_board_columns(benchmark) if c.name in rows]
    hidden = columns.sample_columns(benchmark, [name for name in columns.REGISTRY if benchmark.hides(name)])
    names = [name for name in names if name not in {column.name for column in hidden}]
    values = rows[names].to_numpy(float)
    if not np.array_equal(positions, np.arange(len(benchmark.samples))):
        known, values = values[positions >= 0], np.full((len(benchmark.samples), len(names)), np.nan)
        values[positions[positions >= 0]] = known
    return dict(zip(names, values.T, strict=True))


def _means(drawn: Resampling, values: Values) -> Replicates:
    """Replicates of the mean of each column."""
    return dict(zip(values, resampling.means(drawn, np.stack(list(values.values()), axis=1)).T, strict=True))


def _of_few_blocks(values: Values, drawn: Resampling, benchmark: Benchmark) -> dict[str, NDArray[np.float64]]:
    """Replicates of robust accuracy where few blocks of images were attacked: the images are drawn one by one.

    The spread of six blocks says little of how far other images would have come out. Whether an image withstands an
    attack depends on no neighbour, which blocks are made for.
    """
    found = {}
    for name in (column.name for measure in columns.ATTACKS for column in columns.added_columns(benchmark, measure)):
        scored = ~np.isnan(values[name]) if name in values else np.zeros(len(drawn.blocks), dtype=bool)
        if scored.any() and resampling.are_few(drawn, scored):
            singly = resampling.one_by_one(scored, seed=benchmark.seed).first(statistics.REPLICATES)
            found[name] = resampling.means(singly, values[name][:, None])[:, 0]
    return found


def _alignment(means: Replicates, benchmark: Benchmark) -> NDArray[np.float64]:
    """What ranks: the mean of the benchmark's alignment, corrected for chance unless it is the paper's."""
    own = benchmark.alignment
    return means[own] if benchmark.by_paper else _corrected(means[own], means[_PAIRS[own]])


def _corrected(values: NDArray[np.float64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    return (values - chances) / (1 - chances)


def _statistics(means: Replicates, benchmark: Benchmark) -> Replicates:
    """The means, and what is computed from them."""
    computed = dict(means)
    computed["accuracy"] = computed.pop("correct")
    return with_ratios(computed, benchmark)


def with_ratios(means: Replicates, benchmark: Benchmark) -> dict[str, NDArray[np.float64]]:
    """Means with what is computed from them.

    Args:
        means: of the per-sample columns, replicates of any number; that of `correct` is called `accuracy`.
        benchmark: the definition.
    """
    computed = dict(means)
    for name, chance in _PAIRS.items():
        if name in means:
            computed[f"{name}_corrected"] = _corrected(means[name], means[chance])
    if benchmark.no_target:
        return computed
    computed = with_derived(computed, benchmark)
    if benchmark.sigmas is not None:
        computed |= _profile(means, benchmark.sigmas)
    for name, (off, on) in _RATIOS.items():
        if off in computed:
            computed[name] = log_ratio(computed[off], computed[on])
    if "on_jacobian" in computed:
        roots = (np.sqrt(computed[f"{side}_jacobian"]) for side in ("off", "on"))
        computed["log_ratio_infinitesimal"] = log_ratio(*roots)
    return computed


def _profile(means: Replicates, sigmas: Sequence[float]) -> Replicates:
    """Alignment corrected for chance at every sigma, and where it is largest, replicate by replicate."""
    corrected: dict[str, NDArray[np.float64]] = {}
    for sigma in sigmas:
        own, chance = (means[sigma_name(f"alignment_at{suffix}", sigma)] for suffix in ("", "_chance"))
        corrected[sigma_name("alignment_profile", sigma)] = _corrected(own, chance)
    found = profile.peak(np.stack(list(corrected.values()), axis=1), sigmas)
    return corrected | {"alignment_peak": found.value, "alignment_peak_sigma": found.sigma}


def with_derived(values: Replicates, benchmark: Benchmark) -> dict[str, NDArray[np.float64]]:
    """Statistics with those that are another one or a linear function of it, `DERIVED`, made of these."""
    computed = dict(values)
    computed["alignment"] = computed[ranking_column(benchmark)]
    if benchmark.epsilon is not None:
        chance_energy = benchmark.rank / benchmark.dimension
        computed["tangent_energy_corrected"] = (computed["tangent_energy"] - chance_energy) / (1 - chance_energy)
        for side in ("on", "off"):
            computed[f"{side}_response"] = computed[epsilon_name(f"{side}_response", benchmark.epsilon)]
    return computed


def ranking_column(benchmark: Benchmark) -> str:
    """The statistic that `alignment` is."""
    return benchmark.alignment if benchmark.by_paper else f"{benchmark.alignment}_corrected"


def log_ratio(off: NDArray[np.float64], on: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(off/on); NaN where one of them is no more than float32's rounding."""
    resolved = np.minimum(off, on) > eligibility.MIN_RESPONSE
    return np.log(np.where(resolved, off, np.nan) / np.where(resolved, on, np.nan))
