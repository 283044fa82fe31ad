"""The leaderboard's table: what its columns and rows show, as the template prints it and as its script sorts it."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from pagbench.ranking import eligibility, render
from pagbench.ranking.board import agreements
from pagbench.ranking.statistics import tie_groups
from pagbench.reports.site import downloads, table_columns
from pagbench.reports.site.rendering import address
from pagbench.reports.site.table_columns import Shown
from pagbench.results.verification import SELF_REPORTED
from pagbench.studies.networks import Network, Study

SECTIONS = {"ranked": "Ranked", "unranked": "Without a rank", "control": "Controls"}
"""Parts of the table, in order; each is sorted by itself."""
FACETS = {
    "family": "Family",
    "architecture": "Architecture",
    "dataset": "Training data",
    "license": "Licence",
    "verdict": "Verification",
}
"""What rows are filtered by, with its label."""
_NONE = "none given"
_DIGITS = 6
"""Significant ones that the page's numbers keep; the downloads have all."""


def content(study: Study) -> dict[str, Any]:
    """What `_table.html.j2` shows.

    Returns:
        `table`, which holds `data` (embedded as JSON: columns, rows, sections), `facets` (the filters and their
        options), `groups` (columns by group), `notes` (sentences below the table) and `files` (the downloads).
    """
    board = _with_cards(study)
    shown = table_columns.shown(board, study)
    rows = _rows(board, shown, study)
    data: dict[str, Any] = {
        "compare": address(f"compare/{study.benchmark.label}.html"),
        "sections": SECTIONS,
        "columns": [_column(column, rows, place) for place, column in enumerate(shown)],
        "rows": rows,
    }
    groups: dict[str, list[dict[str, Any]]] = {}
    for column, described in zip(shown, data["columns"], strict=True):
        groups.setdefault(column.group, []).append(described)
    table = {
        "data": data,
        "facets": _facets(rows),
        "groups": groups,
        "notes": [render.caption(study.board, study.benchmark), *_levels(shown), *_agreements(study)],
        "files": downloads.files(study),
    }
    return {"table": table}


def _with_cards(study: Study) -> pd.DataFrame:
    """The board with what cards say, `CARD_COLUMNS`."""
    networks = _networks(study)
    cards = [networks[name].card for name in study.board["model"]]
    said = [{"architecture": card.architecture, "dataset": card.dataset} for card in cards]
    return study.board.join(pd.DataFrame(said, index=study.board.index, dtype=object))


def _networks(study: Study) -> dict[str, Network]:
    return {network.card.id: network for network in study.networks}


def _rows(board: pd.DataFrame, shown: Sequence[Shown], study: Study) -> list[dict[str, Any]]:
    networks = _networks(study)
    ranked = board[board["status"] == eligibility.RANKED].sort_values("rank", kind="stable")
    found = tie_groups([(int(row["rank_low"]), int(row["rank_high"])) for _, row in ranked.iterrows()])
    places = dict(zip(ranked["model"], found, strict=True))
    order = {section: place for place, section in enumerate(SECTIONS)}
    collection = f"{study.benchmark.data_name}/"
    rows = []
    for _, row in board.iterrows():
        name = str(row["model"])
        rank = [int(row[key]) for key in ("rank", "rank_low", "rank_high")] if name in places else None
        group, block = places.get(name, (0, 0))
        rows.append(
            {
                "id": name,
                "collection": collection if name.startswith(collection) else "",
                "title": networks[name].card.title,
                "page": address(f"models/{name}.html"),
                "section": _section(row),
                "rank": rank,
                "group": group,
                "block": block,
                "meaningful": eligibility.has_result(str(row["status"])),
                "reason": _reason(str(row["status"])),
                "badges": _badges(row, networks[name]),
                "facets": _facets_of(networks[name]),
                "cells": [_cell(row, column) for column in shown],
            }
        )
    return sorted(rows, key=lambda row: (order[row["section"]], row["rank"] or []))


def _section(row: "pd.Series[Any]") -> str:
    if row["control"]:
        return "control"
    return "ranked" if row["status"] == eligibility.RANKED else "unranked"


def _reason(status: str) -> str:
    """Why there is no rank, or no result; empty where nothing is to be said."""
    return "" if status in (eligibility.RANKED, "control") else status.removeprefix("control; ")


def _badges(row: "pd.Series[Any]", network: Network) -> list[dict[str, str]]:
    """Short marks beside the name: what kind it is, the word shown, and the sentence that explains it."""
    found: list[tuple[str, str, str]] = []
    if network.verification is not None:
        found.append((network.verification.verdict, network.verification.verdict, _verdict(network)))
    if network.card.trained_on_target:
        found.append(("target", "on target", "Trained on the benchmark's own target, as its card declares."))
    preflight = _text(row.get("preflight"))
    if preflight not in (None, "ok"):
        found.append(("flag", "flagged", f"Pre-flight: {preflight}."))
    partial = _text(row.get("partial_measures"))
    if partial is not None:
        found.append(("flag", "in part", f"Optional measures that lack images: {partial}."))
    return [dict(zip(("kind", "word", "note"), badge, strict=True)) for badge in found]


def _verdict(network: Network) -> str:
    assert network.verification is not None
    said = network.verification
    versions = ", ".join(f"{name} {version}" for name, version in sorted(said.versions.items()))
    reason = f": {said.reason}" if said.reason else ""
    return f"{said.summary()}{reason} ({versions}; {said.device})."


def _facets_of(network: Network) -> dict[str, str]:
    card, verification = network.card, network.verification
    found = {
        "family": card.family,
        "architecture": card.architecture,
        "dataset": card.dataset,
        "license": card.license,
        "verdict": SELF_REPORTED if verification is None else verification.verdict,
    }
    return {facet: value or _NONE for facet, value in found.items()}


def _facets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The filters that have something to choose, and always that of verification, with the number of rows of each."""
    found = []
    for facet, label in FACETS.items():
        values = [row["facets"][facet] for row in rows]
        options = [(value, values.count(value)) for value in sorted(set(values), key=lambda v: (v == _NONE, v))]
        if len(options) > 1 or facet == "verdict":
            found.append({"name": facet, "label": label, "options": options})
    return found


def _cell(row: "pd.Series[Any]", column: Shown) -> Any:
    """A text; a number as [value, low, high, chance], of which the last ones may lack; null where there is none."""
    value = row[column.name]
    if column.kind == "text":
        return _text(value)
    if column.kind == "regime":
        return None if _text(value) is None else [_text(value), _rounded(row["regime_probability"])]
    numbers = [_rounded(row.get(f"{column.name}{part}")) for part in ("", "_low", "_high")]
    numbers.append(_rounded(row.get(column.chance_column)) if column.chance_column else None)
    while numbers and numbers[-1] is None:
        numbers.pop()
    return numbers if numbers and numbers[0] is not None else None


def _text(value: Any) -> str | None:
    if pd.isna(value):
        return None
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def _rounded(value: Any) -> float | int | None:
    if value is None or pd.isna(value) or not math.isfinite(value):
        return None
    short = float(f"{float(value):.{_DIGITS}g}")
    return int(short) if short.is_integer() else short


def _column(column: Shown, rows: Sequence[dict[str, Any]], place: int) -> dict[str, Any]:
    cells = [row["cells"][place] for row in rows if row["meaningful"] and row["section"] != "control"]
    numbers = [cell for cell in cells if cell is not None] if column.kind == "number" else []
    chances = [cell[3] for cell in numbers if len(cell) > 3]
    spread = [value for cell in numbers for value in cell if value is not None]
    spread += [] if column.chance is None else [column.chance]
    return {
        "name": column.name,
        "header": column.header,
        "unit": column.column.unit,
        "arrow": column.arrow,
        "better": column.better,
        "summary": column.summary,
        "anchor": column.anchor,
        "kind": column.kind,
        "default": column.default,
        "decimals": column.decimals,
        "interval": any(len(cell) > 1 for cell in numbers),
        "chance": [_rounded(column.chance)] if column.chance is not None else _ends(chances),
        "scale": _ends(spread),
    }


def _ends(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)] if values else []


def _levels(shown: Sequence[Shown]) -> list[str]:
    """What doing nothing, real images and other methods have, of the columns that are shown at first."""
    told = [f"{column.header} ({column.told})" for column in shown if column.default and column.told]
    followed = "What following the gradient makes is held against doing nothing, real images and other methods"
    return [f"{followed}: {', '.join(told)}."] if told else []


def _agreements(study: Study) -> list[str]:
    """How alike other targets would rank."""
    if study.benchmark.second is None:
        return []
    return [agreement.sentence() for agreement in agreements(study.board, study.benchmark)]
