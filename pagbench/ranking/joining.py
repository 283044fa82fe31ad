"""Rows of a board whose rows are recipes: networks that differ in the training seed alone, as one model's summary.

A recipe's replicates vary with the images and with the seeds, so that all that is computed of a model's replicates,
intervals, ranks and regimes, covers retraining.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.ranking import eligibility, statistics
from pagbench.ranking.copies import find_copies
from pagbench.ranking.recipes import Recipe
from pagbench.ranking.retraining import SeedVariance, draws, scale_of
from pagbench.ranking.statistics import Array
from pagbench.ranking.summaries import (
    COMPARED,
    DERIVED,
    Replicates,
    Summary,
    ranking_column,
    thinned,
    with_derived,
    with_ratios,
)
from pagbench.results.verification import SELF_REPORTED

OPEN, ON_TARGET = "open", "trained-on-target"
"""Who declares to be trained on a benchmark's target is ranked apart."""
TRACKS = (OPEN, ON_TARGET)
"""Rankings of a board of recipes, in order."""


class Joined(NamedTuple):
    """The rows of a board of recipes.

    Attributes:
        rows: summaries by the id of the row, that of its first network.
        statuses: of the rows.
        row_of: the row of each network.
    """

    rows: Mapping[str, Summary]
    statuses: Mapping[str, str]
    row_of: Mapping[str, str]


def join(models: Mapping[str, Summary], statuses: Mapping[str, str], benchmark: Benchmark) -> Joined:
    """Joins the ranked networks of each recipe; all others are rows of their own.

    Args:
        models: all that were measured, by id.
        statuses: of each of them.
        benchmark: the definition.
    """
    groups, repeated = _groups(models, statuses, benchmark)
    thin = {name: _measured(thinned(model, benchmark), benchmark) for name, model in models.items()}
    recipes = {name: [thin[member] for member in members] for name, members in groups.items()}
    variances = {name: _variances(members, benchmark) for name, members in recipes.items() if len(members) > 1}
    pool = _pool(recipes, variances)
    rows = {name: _row(members, variances.get(name, {}), pool, benchmark) for name, members in recipes.items()}
    row_of = {member: name for name, members in groups.items() for member in members}
    return Joined(rows, {name: repeated.get(name, statuses[name]) for name in rows}, row_of)


def _measured(model: Summary, benchmark: Benchmark) -> Summary:
    """The same without the optional columns that have no value."""
    optional = [column.name for column in columns.optional_board_columns(benchmark)]
    empty = {name for name in optional if name in model.replicates and np.isnan(model.entry[name])}
    if not empty:
        return model
    gone = {f"{name}{part}" for name in empty for part in ("", "_low", "_high")}
    return replace(
        model,
        entry={name: value for name, value in model.entry.items() if name not in gone},
        replicates={name: values for name, values in model.replicates.items() if name not in empty},
    )


def _groups(
    models: Mapping[str, Summary], statuses: Mapping[str, str], benchmark: Benchmark
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Networks of each row, by the first one; and the status of those that their recipe has already.

    The reference comes first in its recipe, then the smallest seed.
    """
    of_recipe = defaultdict[Recipe, list[str]](list)
    groups: dict[str, list[str]] = {}
    repeated: dict[str, str] = {}
    for name, model in models.items():
        if model.recipe is None or statuses[name] != eligibility.RANKED:
            groups[name] = [name]
        else:
            of_recipe[model.recipe].append(name)
    for names in of_recipe.values():
        names.sort(key=lambda name: (name != benchmark.reference, models[name].training_seed, name))
        joined: list[str] = []
        for name in names:
            again = _again(models[name], [models[other] for other in joined])
            if again:
                groups[name], repeated[name] = [name], again
            else:
                joined.append(name)
        groups[joined[0]] = joined
    return dict(sorted(groups.items())), repeated


def _again(model: Summary, before: Iterable[Summary]) -> str:
    """Why a network says nothing that its recipe's others do not; empty where it does."""
    for other in before:
        if model.training_seed == other.training_seed:
            return f"repeated: its recipe has a network of training seed {model.training_seed}, {other.name}"
        pair = {one.name: one.network for one in (model, other) if one.network is not None}
        if model.name in find_copies(pair):
            return f"repeated: its recipe has the same network, {other.name}"
    return ""


def _variances(members: Sequence[Summary], benchmark: Benchmark) -> dict[str, float]:
    """Of every statistic between the networks of a recipe, on its scale; NaN where one of them has no value.

    Of what was measured of some networks only, between these; there is none of a single one.
    """
    measured = {name: np.full(1, 0.5) for one in members for name in one.replicates}
    having = {name: _having(members, name) for name in with_ratios(measured, benchmark) if name not in DERIVED}
    values = {
        name: np.array([one.entry[name] for one in some], dtype=float) for name, some in having.items() if len(some) > 1
    }
    return {name: float(np.var(scale_of(name).of(found), ddof=1)) for name, found in values.items()}


def _having(members: Sequence[Summary], name: str) -> list[Summary]:
    """The networks that a statistic was measured of: all, but for optional measures."""
    return [one for one in members if name in one.entry]


def _pool(
    recipes: Mapping[str, Sequence[Summary]], variances: Mapping[str, Mapping[str, float]]
) -> dict[str, SeedVariance]:
    """The variance between seeds of every statistic; empty where no recipe has several networks.

    Submissions have no voice where others are published: they would widen or narrow the intervals of these.
    """
    voices = {name: one.recipe.voice for name, members in recipes.items() for one in members if one.recipe}
    several = [name for name in variances if voices[name] == max(voices.values())]
    statistic_names = dict.fromkeys(statistic for name in several for statistic in variances[name])
    found = {
        statistic: SeedVariance.of(
            [variances[name].get(statistic, np.nan) for name in several],
            [len(_having(recipes[name], statistic)) - 1 for name in several],
        )
        for statistic in statistic_names
    }
    return {statistic: variance for statistic, variance in found.items() if variance is not None}


def _row(
    members: Sequence[Summary], own: Mapping[str, float], pool: Mapping[str, SeedVariance], benchmark: Benchmark
) -> Summary:
    """The summary of the networks of a recipe; of a control without retraining."""
    first, count = members[0], len(members)
    listed = {} if first.evidence.control else {"n_networks": count, "networks": [_listed(one) for one in members]}
    track = {} if first.evidence.control else {"track": ON_TARGET if first.entry["trained_on_target"] else OPEN}
    replicates, estimated = _mean(members, benchmark), dict[str, float]()
    ranked = np.mean([one.rank_replicates for one in members], axis=0)
    retraining: dict[str, float] = {}
    if pool and not first.evidence.control:
        over_images = replicates
        networks = {name: len(having) for name in pool if (having := _having(members, name))}
        variances = {name: pool[name].moderated(own.get(name, np.nan), n - 1) for name, n in networks.items()}
        known = _Retraining(first.name, networks, variances, pool, benchmark)
        replicates = known.of(over_images)
        if not benchmark.no_target:
            ranked = known.moved(ranking_column(benchmark), ranked)
        estimated = _intervals(replicates)
        retraining = _shares(over_images, estimated, variances, benchmark)
    elif count > 1:
        estimated = _intervals(replicates)
    if count == 1:  # as it was measured: what is kept of replicates may be rounded
        estimated |= {name: first.entry[name] for name in estimated if name in replicates}
    return replace(
        first,
        entry=_entry(members, pool, benchmark) | estimated | listed | track | retraining,
        replicates=replicates,
        rank_replicates=ranked,
    )


def _mean(members: Sequence[Summary], benchmark: Benchmark) -> dict[str, Array]:
    """Replicates over images of the mean over networks, and of ratios of these means."""
    if len(members) == 1:
        return with_ratios({name: np.asarray(v, dtype=float) for name, v in members[0].replicates.items()}, benchmark)
    having = {name: _having(members, name) for one in members for name in one.replicates}
    means = {
        name: np.mean([one.replicates[name] for one in some], axis=0, dtype=float) for name, some in having.items()
    }
    for name, values in means.items():
        values[0] = np.mean([one.entry[name] for one in having[name]])
    return with_ratios(means, benchmark)


class _Retraining(NamedTuple):
    """What is known of how far the mean over a recipe's networks is from that over all seeds.

    Attributes:
        key: names the recipe.
        networks: how many it has that a statistic was measured of.
        variances: between networks, by statistic, on its scale.
        pool: what all recipes have in common.
        benchmark: the definition.
    """

    key: str
    networks: Mapping[str, int]
    variances: Mapping[str, float]
    pool: Mapping[str, SeedVariance]
    benchmark: Benchmark

    def moved(self, name: str, values: Array) -> Array:
        """Replicates of a statistic over images, to each of which a draw over seeds is added; the estimate stays."""
        variance = self.variances.get(name, 0.0)
        if variance == 0:
            return values
        scale, networks = scale_of(name), self.networks[name]
        freedom = self.pool[name].freedom_of(networks - 1)
        named = f"{self.key} {_draw(name, self.benchmark)}"
        drawn = draws(freedom, len(values) - 1, seed=self.benchmark.seed, key=named)
        moved = scale.back(scale.of(values[1:]) + np.sqrt(variance / networks) * drawn)
        return np.concatenate([values[:1], np.where(np.isfinite(moved), moved, values[1:])])

    def of(self, over_images: Replicates) -> dict[str, Array]:
        """All statistics, and those that are made of them."""
        retrained = {name: self.moved(name, values) for name, values in over_images.items()}
        return retrained if self.benchmark.no_target else with_derived(retrained, self.benchmark)


def _draw(name: str, benchmark: Benchmark) -> str:
    """What a draw is named by. Statistics that are judged together have independent ones.

    All others share one: only their own intervals are shown.
    """
    judged = {_source(statistic, benchmark): statistic for statistic in COMPARED}
    return judged.get(name, "others")


def _source(name: str, benchmark: Benchmark) -> str:
    """The statistic that a main column is."""
    if name == "alignment":
        return ranking_column(benchmark)
    return columns.epsilon_name(name, benchmark.epsilon or 0.0) if name in DERIVED else name


def _intervals(replicates: Replicates) -> dict[str, float]:
    """Value and bounds of every statistic."""
    found: dict[str, float] = {}
    by_length = defaultdict[int, list[str]](list)
    for name, values in replicates.items():
        by_length[len(values)].append(name)
    for names in by_length.values():
        estimated = statistics.intervals(np.stack([replicates[name] for name in names]))
        for name, estimate in zip(names, estimated, strict=True):
            found |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return found


def _shares(
    over_images: Replicates, retrained: Mapping[str, float], variances: Mapping[str, float], benchmark: Benchmark
) -> dict[str, float]:
    """Of each main column how far retraining moves it, how far the images do, and how long both make the interval."""
    shares: dict[str, float] = {}
    main = [name for name in columns.MAIN if name in over_images]
    alone = _intervals({name: over_images[name] for name in main})
    for name in main:
        source, value = _source(name, benchmark), float(over_images[name][0])
        slope = scale_of(source).slope(value) if np.isfinite(value) else np.nan
        length = alone[f"{name}_high"] - alone[f"{name}_low"]
        shares |= {
            f"{name}_seed_sd": float(np.sqrt(variances.get(source, np.nan)) / slope),
            f"{name}_image_sd": float(np.std(over_images[name][1:], ddof=1)),
            f"{name}_interval_factor": (retrained[f"{name}_high"] - retrained[f"{name}_low"]) / length
            if length > 0
            else np.nan,
        }
    return shares


def _listed(model: Summary) -> dict[str, Any]:
    """One network of a recipe: its id, its training seed and its own main columns, intervals over images."""
    parts = [f"{name}{part}" for name in columns.MAIN for part in ("", "_low", "_high")]
    values = {part: model.entry[part] for part in parts if part in model.entry}
    return {"id": model.name, "seed": model.training_seed, **values}


def _entry(members: Sequence[Summary], pool: Collection[str], benchmark: Benchmark) -> dict[str, Any]:
    """What the networks of a recipe have in common; where they differ, what is to be said of some of them."""
    entries = [member.entry for member in members]
    entry = dict(entries[0])
    for name in ("temperature", "temperature_low", "temperature_high"):
        if name in entry:
            entry[name] = float(np.mean([one[name] for one in entries]))
    if len(members) > 1:
        entry["license"] = ", ".join(dict.fromkeys(one["license"] for one in entries if one["license"])) or None
        entry["preflight"] = _preflight(members)
        entry["verification"] = _verification(members)
        partial = dict.fromkeys(filter(None, (one.get(columns.PARTIAL_MEASURES) for one in entries)))
        partial |= dict.fromkeys(_of_some(members, pool, benchmark))
        draws = [one[columns.ATTACKED_DRAWS] for one in entries if columns.ATTACKED_DRAWS in one]
        entry |= {columns.PARTIAL_MEASURES: "; ".join(partial)} if partial else {}
        entry |= {columns.ATTACKED_DRAWS: draws[0]} if draws else {}
    return entry


def _of_some(members: Sequence[Summary], pool: Collection[str], benchmark: Benchmark) -> Iterator[str]:
    """Which optional measures were taken of some of a recipe's networks only, and of how many."""
    measures = defaultdict[tuple[int, bool], list[str]](list)
    for measure in columns.OPTIONAL:
        names = [column.name for column in columns.added_columns(benchmark, measure)]
        having = sum(any(name in one.entry for name in names) for one in members)
        if 0 < having < len(members):
            measures[having, any(name in pool for name in names)].append(measure)
    for (having, covered), listed in measures.items():
        networks = "1 network" if having == 1 else f"{having} networks"
        yield f"{', '.join(listed)} of {networks}{'' if covered else ', intervals over images alone'}"


def _preflight(members: Sequence[Summary]) -> str | None:
    said = {member.name: member.entry["preflight"] for member in members}
    flagged = [f"{name}: {flags}" for name, flags in said.items() if flags not in (None, "ok")]
    return "; ".join(flagged) or (None if None in said.values() else "ok")


def _verification(members: Sequence[Summary]) -> str:
    """A recipe is verified where all of its networks are."""
    said = {member.name: str(member.entry["verification"]) for member in members}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    if not any(text.startswith(SELF_REPORTED) for text in said.values()):
        return "; ".join(dict.fromkeys(said.values()))
    by_text = defaultdict[str, list[str]](list)
    for name, text in said.items():
        by_text[text].append(name)
    ordered = sorted(by_text.items(), key=lambda item: not item[0].startswith(SELF_REPORTED))
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in ordered)


def outsiders(same_as: Mapping[str, str], row_of: Mapping[str, str], rows: Collection[str]) -> dict[str, str]:
    """What `find_copies` says of networks, said of the rows that these are in; nothing of a row and itself."""
    found: dict[str, str] = {}
    for row in rows:
        kinds: dict[str, dict[str, None]] = {"outputs": {}, "weights": {}}
        for network, home in row_of.items():
            if home != row or network not in same_as:
                continue
            for part in same_as[network].split("; "):
                kind, _, names = part.partition(" of ")
                kinds[kind] |= dict.fromkeys(row_of[name] for name in names.split(", ") if row_of[name] != row)
        parts = [f"{kind} of {', '.join(names)}" for kind, names in kinds.items() if names]
        if parts:
            found[row] = "; ".join(parts)
    return found
