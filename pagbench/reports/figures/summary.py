"""The numbers behind the figures, as plain JSON values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pagbench.ranking.statistics import Interval
from pagbench.reports.figures import path_charts, scatter
from pagbench.studies.correlations import Correlation
from pagbench.studies.networks import Network, Study
from pagbench.studies.paths import Path, Point, origin, point

Numbers = dict[str, Any]


def numbers(
    study: Study,
    paths: Sequence[Path],
    others: Sequence[Path],
    correlations: Mapping[str, Mapping[str, Correlation]],
    without_maps: Sequence[Network],
) -> Numbers:
    """Paths, correlations, captions, and what was left out; null where a number is not defined.

    Returns:
        `benchmark`, `epsilon`, `architecture`, `activation`, `bayes`, `standard`, `paths`, `other_paths`,
        `correlations`, `captions`, `left_out` (model: reason) and `without_maps`.
    """
    architecture, activation = study.make
    start = origin(study, study.make)
    drawn = {network.card.id for network in study.drawn}
    reasons = {network.card.id: network.status for network in study.networks if not network.card.control}
    return {
        "benchmark": study.benchmark.label,
        "epsilon": study.benchmark.epsilon,
        "architecture": architecture,
        "activation": activation,
        "bayes": _point(point(0.0, [study.bayes], study))["values"],
        "standard": None if start is None else _point(start),
        "paths": {path.family: [_point(part) for part in path.points] for path in paths},
        "other_paths": [_other(path, study) for path in others],
        "correlations": {
            column: {name: _correlation(correlation) for name, correlation in parts.items()}
            for column, parts in correlations.items()
        },
        "captions": {"paths": path_charts.caption(study, paths), "scatter": scatter.caption(study)},
        "left_out": {name: reason for name, reason in sorted(reasons.items()) if name not in drawn},
        "without_maps": [network.card.id for network in without_maps],
    }


def _other(path: Path, study: Study) -> Numbers:
    architecture, activation = path.make
    start = origin(study, path.make)
    return {
        "family": path.family,
        "architecture": architecture,
        "activation": activation,
        "standard": None if start is None else _point(start),
        "points": [_point(part) for part in path.points],
    }


def _point(part: Point) -> Numbers:
    return {
        "strength": part.strength,
        "seeds": len(part.networks),
        "models": [network.card.id for network in part.networks],
        "regime": part.regime,
        "values": {name: _interval(interval) for name, interval in part.values.items()},
    }


def _correlation(correlation: Correlation) -> Numbers:
    return {**_interval(correlation.rho), "networks": correlation.networks, "families": correlation.families}


def _interval(interval: Interval) -> Numbers:
    return {name: None if math.isnan(bound) else bound for name, bound in interval._asdict().items()}
