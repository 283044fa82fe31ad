"""How much a ranking depends on the benchmark's own choices: a page of it, and a sentence on the first screen."""

from dataclasses import dataclass
from typing import Any

from pagbench.ranking import eligibility
from pagbench.reports.site.rendering import Page
from pagbench.studies.networks import Study
from pagbench.studies.stability import rule, wording
from pagbench.studies.stability.report import Moved, Outcome, Report

_SHADES = (0.05, 0.15, 0.35)
"""Shares of all places, from which on a move has the next shade."""


@dataclass(frozen=True)
class Cell:
    """A model's rank under one setting.

    Attributes:
        rank: None where it has no value.
        shade: `up` or `down` with 1 to 3 for how far it moves; empty where it hardly does.
        beyond: whether it lies outside the published rank interval.
    """

    rank: int | None
    shade: str
    beyond: bool


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        choice: whose.
        outcome: what came of it.
        cells: ranks of the ranked models, in published order.
        farthest: who moves farthest beyond their rank intervals.
        regimes: how many move.
        changed: models whose regime moves, with both; empty where none does or can be judged.
    """

    choice: Moved
    outcome: Outcome
    cells: tuple[Cell, ...]
    farthest: str
    regimes: str
    changed: dict[str, tuple[str | None, str | None]]


def content(study: Study) -> dict[str, Any]:
    """What `_sensitivity.html.j2` shows on the benchmark's own page."""
    report = study.sensitivity
    return {"sensitivity": None if report is None else {"report": report, "moved": wording.concerning(report)}}


def page(study: Study) -> Page | None:
    """The page `sensitivity/<label>.html`; None where there is no report."""
    report = study.sensitivity
    if report is None:
        return None
    ranked = set(study.board.loc[study.board["status"] == eligibility.RANKED, "model"])
    content = {
        "benchmark": study.benchmark,
        "report": report,
        "rule": rule.SAID,
        "verdict": wording.verdict(report),
        "choices": [(choice, wording.NAMES[choice.ranking], _rows(choice, report)) for choice in report.choices],
        "models": [model.id for model in report.models if model.ranked],
        "collection": f"{study.benchmark.data_name}/",
        "newer": sorted(ranked - set(report.names)),
        "said": wording,
    }
    path = f"sensitivity/{report.benchmark}.html"
    return Page(path, "sensitivity.html.j2", f"Sensitivity of {study.benchmark.title}", content)


def _rows(choice: Moved, report: Report) -> list[Row]:
    rows = []
    for outcome in choice.others:
        changed = wording.changed_regimes(choice, outcome, report) or {}
        rows.append(
            Row(
                choice,
                outcome,
                _cells(choice, outcome, report),
                wording.farthest(choice, outcome, report),
                wording.regimes(choice, outcome, report),
                changed if any(now is not None for _, now in changed.values()) else {},
            )
        )
    return rows


def _cells(choice: Moved, outcome: Outcome, report: Report) -> tuple[Cell, ...]:
    ranked = [place for place, model in enumerate(report.models) if model.ranked]
    before, after = choice.published.ranks, outcome.ranks
    beyond = set(outcome.moved)
    return tuple(
        Cell(after[place], _shade(before[place], after[place], len(ranked)), report.names[place] in beyond)
        for place in ranked
    )


def _shade(before: int | None, after: int | None, places: int) -> str:
    """How far a rank moves, as a share of all places.

    >>> _shade(1, 30, 60), _shade(10, 5, 60), _shade(2, 1, 60)
    ('down3', 'up1', '')
    """
    if before is None or after is None:
        return ""
    deep = sum(abs(after - before) > share * places for share in _SHADES)
    return f"{'down' if after > before else 'up'}{deep}" if deep else ""
