"""The page "Which model should I take?": accuracy against alignment, and who is best above a threshold.

A browser only compares numbers that stand in the page. They are the leaderboard's own. Which models are told apart is
computed here, by the comparisons that rank intervals come from, with fewer draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark
from pagbench.ranking import resampling, statistics
from pagbench.reports.site import benchmark, board_columns
from pagbench.reports.site.board_columns import Described
from pagbench.reports.site.rendering import Page, address
from pagbench.studies import legend
from pagbench.studies.legend import rounded
from pagbench.studies.models import Study

PATH = "choose.html"
_ROBUST = ("adversarial_", "pgd_")
"""Prefixes of columns of robust accuracy."""


@dataclass(frozen=True)
class Candidate:
    """A ranked model as one may take it.

    Attributes:
        model: its id.
        page: address of its page, below the site's folder.
        alignment: value, low and high of its 95 % interval.
        accuracy: likewise.
        robust: robust accuracy by column, likewise; only where it was measured.
        rank: rank, best and worst rank that the comparisons allow.
        regime: for readers; empty where none is judged.
        on_target: whether its card says that it was trained on the target.
        front: whether no other candidate has at least its accuracy and at least its alignment, and more of one.
        tied: ids of the candidates that cannot be told apart from it, by comparisons of all pairs at once at 95 %.
    """

    model: str
    page: str
    alignment: tuple[float, float, float]
    accuracy: tuple[float, float, float]
    robust: Mapping[str, tuple[float, float, float]]
    rank: tuple[int, int, int]
    regime: str
    on_target: bool
    front: bool
    tied: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What can be chosen from on one benchmark.

    Attributes:
        benchmark: the definition.
        candidates: models that rank together, by rank.
        robust: headers of the columns of robust accuracy that some candidate has, by name.
        apart: how many others rank apart, for their cards declare that they were trained on the target.
    """

    benchmark: Benchmark
    candidates: tuple[Candidate, ...]
    robust: Mapping[str, str]
    apart: int

    @cached_property
    def front(self) -> list[Candidate]:
        """The candidates on the Pareto front, the most accurate first."""
        return sorted((one for one in self.candidates if one.front), key=lambda one: -one.accuracy[0])

    @property
    def data(self) -> dict[str, Any]:
        """What the script of the page reads."""
        return {
            "label": self.benchmark.label,
            "compare": address(f"compare/{self.benchmark.label}.html"),
            "robust": self.robust,
            "models": [vars(one) for one in self.candidates],
        }


def page(studies: Sequence[Study]) -> Page:
    """The page `choose.html`, with the benchmarks in the order of the first page."""
    by_label = {study.benchmark.label: study for study in studies}
    ordered = (by_label[verdict.benchmark.label] for verdict in benchmark.verdicts(studies))
    choices = [found for found in map(choice, ordered) if found is not None]
    return Page(PATH, "choose.html.j2", "Which model should I take?", {"choices": choices})


def choice(study: Study) -> Choice | None:
    """What can be chosen from on a benchmark; None where no model with an accuracy is ranked."""
    open_to_all, on_target = study.rankings
    ranked, apart = (open_to_all, on_target) if open_to_all else (on_target, [])
    rows = [row for row in ranked if row.get("accuracy") is not None]
    if not rows:
        return None
    robust = _robust_columns(rows, board_columns.describe(study))
    points = [(float(row["accuracy"]), float(row["alignment"])) for row in rows]
    names = [str(row["model"]) for row in rows]
    tied = _tied(study, names)
    candidates = tuple(
        Candidate(
            model=name,
            page=address(f"models/{name}.html"),
            alignment=_interval(study, row, "alignment"),
            accuracy=_interval(study, row, "accuracy"),
            robust={name: _interval(study, row, name) for name in robust if row[name] is not None},
            rank=(int(row["rank"]), int(row["rank_low"]), int(row["rank_high"])),
            regime=legend.REGIMES.get(row["regime"], ""),
            on_target=row["trained_on_target"] is True,
            front=is_on_front(point, points),
            tied=tuple(other for other, near in zip(names, same, strict=True) if near and other != name),
        )
        for name, row, point, same in zip(names, rows, points, tied, strict=True)
    )
    return Choice(study.benchmark, candidates, robust, len(apart))


def is_on_front(point: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    """Whether none of the points is at least as good in both coordinates, and better in one.

    >>> points = [(0.9, 0.1), (0.8, 0.3), (0.8, 0.2), (0.7, 0.3)]
    >>> [is_on_front(point, points) for point in points]
    [True, True, False, False]
    """
    return not any(x >= point[0] and y >= point[1] and (x, y) != point for x, y in points)


def _tied(study: Study, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of these models cannot be told apart, shape (models, models)."""
    by_name = {model.card.id: study.replicates(model)["alignment"] for model in study.models if model.card.id in names}
    units = resampling.count(len(study.benchmark.samples), study.benchmark.classes)
    better = statistics.better(np.stack([by_name[name] for name in names], axis=1), units=units)
    return ~(better | better.T)


def _robust_columns(rows: Sequence[Mapping[str, Any]], described: Mapping[str, Described]) -> dict[str, str]:
    measured = {name for row in rows for name, value in row.items() if value is not None}
    return {
        name: described[name].column.header
        for prefix in _ROBUST
        for name in described
        if name.startswith(prefix) and name in measured
    }


def _interval(study: Study, row: Mapping[str, Any], column: str) -> tuple[float, float, float]:
    value, low, high = (rounded(bound) for bound in study.row_interval(str(row["model"]), column))
    return value, low, high
