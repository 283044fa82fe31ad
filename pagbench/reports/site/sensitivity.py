"""How much a ranking depends on the benchmark's own choices: a page of it, and a sentence on the first screen."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from pagbench.ranking import eligibility
from pagbench.reports.site.rendering import Page
from pagbench.studies.models import Study
from pagbench.studies.stability.report import RANKINGS, RULE, FactorOutcomes, Outcome, Report

_SHADES = (0.05, 0.15, 0.35)
"""Shares of all places, from which on a move has the next shade."""


@dataclass(frozen=True)
class Cell:
    """A model's rank under one level.

    Attributes:
        rank: None where it has no value.
        shade: `up` or `down` with 1 to 3 for how far it moves; empty where it hardly does.
        beyond: whether it lies outside the published rank interval.
    """

    rank: int | None
    shade: str
    beyond: bool


def content(study: Study) -> dict[str, Any]:
    """What `_sensitivity.html.j2` shows on the benchmark's own page."""
    report = study.sensitivity
    return {"sensitivity": None if report is None else {"report": report, "moved": report.concerning}}


def page(study: Study) -> Page | None:
    """The page `sensitivity/<label>.html`; None where there is no report."""
    report = study.sensitivity
    if report is None:
        return None
    ranked = set(study.board.loc[study.board["status"] == eligibility.RANKED, "model"])
    content = {
        "benchmark": study.benchmark,
        "report": report,
        "rule": RULE,
        "verdict": report.verdict,
        "factors": [(factor, RANKINGS[factor.ranking]) for factor in report.factors],
        "cells": partial(_cells, report),
        "models": [model.id for model in report.models if model.ranked],
        "collection": f"{study.benchmark.data_name}/",
        "newer": sorted(ranked - set(report.names)),
    }
    path = f"sensitivity/{report.benchmark}.html"
    return Page(path, "sensitivity.html.j2", f"Sensitivity of {study.benchmark.title}", content)


def _cells(report: Report, factor: FactorOutcomes, outcome: Outcome) -> list[Cell]:
    """Ranks of the ranked models, in published order."""
    ranks = zip(report.models, factor.published.ranks, outcome.ranks, strict=True)
    places = sum(model.ranked for model in report.models)
    return [
        Cell(after, _shade(before, after, places), model.id in outcome.moved)
        for model, before, after in ranks
        if model.ranked
    ]


def _shade(before: int | None, after: int | None, places: int) -> str:
    """How far a rank moves, as a share of all places.

    >>> _shade(1, 30, 60), _shade(10, 5, 60), _shade(2, 1, 60)
    ('down3', 'up1', '')
    """
    if before is None or after is None:
        return ""
    deep = sum(abs(after - before) > share * places for share in _SHADES)
    return f"{'down' if after > before else 'up'}{deep}" if deep else ""
