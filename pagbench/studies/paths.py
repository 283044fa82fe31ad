"""Paths of growing regularisation, one per training family, and where their strengths lie on an axis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark
from pagbench.columns import sigma_name
from pagbench.errors import ResultsError
from pagbench.ranking import regimes, statistics
from pagbench.ranking.profile import PEAK_SIGMA, within
from pagbench.ranking.statistics import Interval
from pagbench.studies.models import StudiedModel, Study

QUANTITIES = (
    "accuracy",
    "alignment",
    "tangent_energy",
    "on_response",
    "off_response",
    "log_ratio",
    "log_ratio_infinitesimal",
)
"""Columns of the leaderboard that a path follows; see `followed`."""
MIN_STRENGTHS = 3


@dataclass(frozen=True)
class Point:
    """Models that differ in their training seed only.

    Attributes:
        strength: in the family's unit; 0 for models without regularisation.
        models: one per training seed.
        values: mean over seeds of each of `followed`, with its 95 % interval over seeds and images.
        regime: weak, bayes-aligned, excessive or boundary; None where none is judged.
    """

    strength: float
    models: tuple[StudiedModel, ...]
    values: Mapping[str, Interval]
    regime: str | None


@dataclass(frozen=True)
class Path:
    """One training family, of one architecture and activation, by growing strength."""

    family: str
    make: tuple[str, str]
    points: tuple[Point, ...]

    @property
    def strengths(self) -> int:
        """How many different ones there are: recipes may share one."""
        return len({point.strength for point in self.points})

    @property
    def seeds(self) -> int:
        """Most training seeds that a strength has."""
        return max(len(point.models) for point in self.points)


def followed(benchmark: Benchmark) -> tuple[str, ...]:
    """Columns of the leaderboard that a benchmark's paths follow: those of its profile, too, where it has one."""
    profile = (sigma_name("alignment_profile", sigma) for sigma in benchmark.sigmas or ())
    return (*QUANTITIES, *(("alignment_peak", PEAK_SIGMA, *profile) if benchmark.sigmas else ()))


def main_paths(study: Study) -> list[Path]:
    """Families with at least three strengths, of the reference's architecture and activation, by name.

    Raises:
        ResultsError: there is none.
    """
    paths = [path for path in _paths(study, [study.make]) if path.strengths >= MIN_STRENGTHS]
    if not paths:
        raise ResultsError(
            f"{study.benchmark.label}: no family has {MIN_STRENGTHS} strengths of {' '.join(study.make)} among the "
            f"{len(study.drawn)} complete results, and figures show paths; measure more with `pagbench run`"
        )
    return paths


def other_paths(study: Study) -> list[Path]:
    """Paths of other architectures and activations, with at least two strengths."""
    others = sorted({model.make for model in study.drawn} - {study.make})
    return [path for path in _paths(study, others) if path.strengths > 1]


def every_path(study: Study) -> list[Path]:
    """All families of all architectures, however short, the reference's architecture first."""
    makes = sorted({model.make for model in study.drawn}, key=lambda make: (make != study.make, make))
    return list(_paths(study, makes))


@dataclass(frozen=True)
class Neighbours:
    """Where a model stands on the path of its family and architecture.

    Attributes:
        siblings: same strength, another training seed.
        weaker: of the next smaller strength, those without regularisation below the first; one per training seed.
        stronger: of the next larger strength; for a model without regularisation the first of every family.
    """

    siblings: tuple[StudiedModel, ...]
    weaker: tuple[StudiedModel, ...]
    stronger: tuple[StudiedModel, ...]


def neighbours(study: Study, model: StudiedModel) -> Neighbours:
    """The models that differ from one by training seed or by one step of strength; none for those off all paths."""
    if not model.drawn:
        return Neighbours((), (), ())
    alike = [other for other in study.drawn if other.make == model.make]
    siblings = tuple(other for other in alike if other is not model and _training(other) == _training(model))
    start = [other for other in alike if study.is_standard(other)]
    if study.is_standard(model):
        families = sorted({other.card.family for other in alike if other.card.strength})
        first = [next(other for other in alike if other.card.family == family) for family in families]
        return Neighbours(siblings, (), tuple(first))
    steps = {
        strength: list(members)
        for strength, members in groupby(
            (other for other in alike if other.card.family == model.card.family),
            key=lambda other: other.card.strength or 0.0,
        )
    }
    strengths = sorted(steps)
    index = strengths.index(model.card.strength or 0.0)
    weaker = steps[strengths[index - 1]] if index else start
    stronger = steps[strengths[index + 1]] if index + 1 < len(strengths) else []
    return Neighbours(siblings, tuple(weaker), tuple(stronger))


def _training(model: StudiedModel) -> str:
    """What networks that differ in their training seed have in common, whoever made them; else the id."""
    return model.card.id if model.recipe is None else model.recipe.training


def origin(study: Study, make: tuple[str, str]) -> Point | None:
    """The models without regularisation, where every path of an architecture begins; None if none was measured."""
    standard = [model for model in study.drawn if model.make == make and study.is_standard(model)]
    return point(0.0, standard, study) if standard else None


def point(strength: float, models: Sequence[StudiedModel], study: Study) -> Point:
    """Joins the training seeds of one strength.

    The same images are drawn for all models, so that differences are paired. Of a board of recipes that is its row;
    else the same seeds are drawn for all strengths, too.
    """
    names = followed(study.benchmark)
    if study.benchmark.ranking == "recipes" and len({study.row_of.get(model.card.id) for model in models}) == 1:
        known = study.replicates(models[0])
        replicates = {name: known[name] for name in names if name in known}
    else:
        replicates = {
            name: statistics.over_seeds([model.replicates[name] for model in models], seed=study.benchmark.seed + 1)
            for name in names
            if all(name in model.replicates for model in models)
        }
    verdict = None
    if study.anchors is not None and study.benchmark.thresholds is not None:
        verdict = regimes.judge(
            regimes.Anchored.of(replicates, study.benchmark), *study.anchors, study.benchmark.thresholds
        )
    values = {name: statistics.interval(sampled) for name, sampled in replicates.items()}
    if study.benchmark.sigmas and PEAK_SIGMA in values:
        values[PEAK_SIGMA] = within(values[PEAK_SIGMA], study.benchmark.sigmas)
    return Point(strength, tuple(models), values, None if verdict is None else verdict.regime)


def _paths(study: Study, makes: Iterable[tuple[str, str]]) -> list[Path]:
    def key(model: StudiedModel) -> tuple[str, float]:
        return model.card.family, model.card.strength or 0.0

    paths = []
    for make in makes:
        chosen = sorted((n for n in study.drawn if n.make == make and n.card.strength), key=key)
        for family, members in groupby(chosen, key=lambda model: model.card.family):
            points = [
                point(strength, group, study)
                for (_, strength), found in groupby(members, key=key)
                for group in _by_training(found)
            ]
            paths.append(Path(family, make, tuple(points)))
    return paths


def _by_training(models: Iterable[StudiedModel]) -> list[list[StudiedModel]]:
    """Models of one strength, those that were trained alike together."""
    groups: dict[str, list[StudiedModel]] = {}
    for model in models:
        groups.setdefault(_training(model), []).append(model)
    return list(groups.values())


class StrengthAxis(NamedTuple):
    """The horizontal axis of one path: log10 of the strength, the models without regularisation at the left end.

    Attributes:
        points: the path, with its origin first where there is one.
        positions: of the points, shape (n,).
        edges: of their cells, shape (n + 1,).
    """

    points: tuple[Point, ...]
    positions: NDArray[np.float64]
    edges: NDArray[np.float64]


def strength_axis(path: Path, start: Point | None) -> StrengthAxis:
    """Lays out a path; its origin is about as far from the first strength as strengths are from each other."""
    positions = np.log10([point.strength for point in path.points])
    step = float(np.diff(positions).mean()) if len(positions) > 1 else 0.5
    points = path.points
    if start is not None:
        points, positions = (start, *points), np.concatenate([[positions[0] - 1.2 * step], positions])
    middle = (positions[1:] + positions[:-1]) / 2
    return StrengthAxis(
        points, positions, np.concatenate([[positions[0] - step / 2], middle, [positions[-1] + step / 2]])
    )
