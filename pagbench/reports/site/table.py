"""The leaderboard's table, as its template prints it and its script sorts it, and the files that hold all of it.

The script is ours: of the widgets that sort, filter and hide columns (simple-datatables, List.js, Tabulator) none takes
a header cell's definition, tie rules, sections that sort apart, or the address; and the table is plain HTML without it.
"""

import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pagbench.benchmarks import Benchmark
from pagbench.columns import ATTACKED_DRAWS, PARTIAL_MEASURES, Column
from pagbench.ranking import eligibility, render
from pagbench.ranking.board import agreements
from pagbench.ranking.joining import ON_TARGET
from pagbench.ranking.profile import CENSORED, bound
from pagbench.ranking.statistics import TieGroup, tie_groups
from pagbench.reports.site import origins, reference
from pagbench.reports.site.board_columns import CARD_COLUMNS, Described, decimals, describe
from pagbench.reports.site.rendering import address
from pagbench.results.verification import SELF_REPORTED, UNDER_EMBARGO
from pagbench.studies.legend import rounded
from pagbench.studies.models import StudiedModel, Study

Kind = Literal["number", "text", "regime"]
Json = dict[str, Any]

SECTIONS = {
    "ranked": "Ranked",
    "target": "Trained on the target, ranked apart",
    "unranked": "Without a rank",
    "control": "Controls",
}
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
_ALWAYS = {"rank", "model", "control", "status", "track", "networks", CENSORED}
"""Every row shows them, in columns or in its place."""
_NOT_FIRST = (
    "family", "strength", "n_networks", "temperature", "verification", "on_response", "off_response",
    "alignment_lpips", "alignment_lpips_chance", "alignment_cosine",
    "denoising_psnr_0.25", "denoising_psnr_1", "inpainting_recognised",
)  # fmt: skip
"""They have a header, but are not shown until asked for: names, the row of chance levels, marks and other columns say
most of it, and a table that fits the screen is read whole."""
_WEAKER = {"pgd_": "adversarial_"}
"""Prefixes of columns that are not shown at first where there are columns of the other prefix, which say more."""
_MODEL = "Model"
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Alignment": ("alignment",),
    "Predictions": ("accuracy", "nll", "confidence", "temperature"),
    "Attacks and certificates": ("adversarial_", "pgd", "certified_", "average_certified", "partial_", "attacked_"),
    "Regime": ("regime", "p_"),
    "Tangent space": ("tangent_", "gradient_"),
    "Responses": ("on_", "off_", "log_ratio"),
    "Following the gradient: generation": ("generation_",),
    "Following the gradient: denoising": ("denoising_",),
    "Following the gradient: in-painting": ("inpainting_",),
    "Paper's protocol": ("paper_",),
    "Sampling of smoothed models": ("smoothed_",),
}
"""Prefixes of the names of columns that stand together; the others tell what the model is."""
_CHANCE_PER_MODEL = ("alignment_lpips", "alignment_cosine", "alignment_second")
_ARROWS = {True: ("↑", "higher is better"), False: ("↓", "lower is better"), None: ("", "")}


class Download(NamedTuple):
    """One file: its format's name, its path below the site's folder, and its content."""

    format: str
    path: str
    content: bytes

    @property
    def size(self) -> str:
        """For people: `81 kB`."""
        return f"{max(1, round(len(self.content) / 1000)):,} kB"


def downloads(study: Study) -> list[Download]:
    """The leaderboard with all of its columns as CSV, JSON and Parquet; the same board gives the same bytes."""
    board, benchmark = study.board, study.benchmark
    contents = {
        "CSV": render.to_csv(board, benchmark).encode(),
        "JSON": render.to_json(board, benchmark).encode(),
        "Parquet": _to_parquet(board),
    }
    return [Download(name, f"data/{benchmark.label}.{name.lower()}", content) for name, content in contents.items()]


def _to_parquet(board: pd.DataFrame) -> bytes:
    """All columns; null where not scored.

    Columns of text are typed as such even where a board leaves all of them empty, and the names of the packages that
    wrote the file are left out.
    """
    inferred = {name: pa.array(board[name], from_pandas=True).type for name in board}
    is_text = {name: pa.types.is_null(kind) or pa.types.is_large_string(kind) for name, kind in inferred.items()}
    schema = pa.schema([(name, pa.string() if is_text[name] else kind) for name, kind in inferred.items()])
    table = pa.Table.from_pandas(board, schema=schema, preserve_index=False).replace_schema_metadata()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def content(study: Study, files: Sequence[Download]) -> Json:
    """What `_table.html.j2` shows.

    Args:
        study: whose leaderboard it is.
        files: the downloads.

    Returns:
        `table`, which holds `data` (embedded as JSON: columns, rows, sections), `facets` (the filters and their
        options), `groups` (columns by group), `notes` (sentences below the table) and `files`.
    """
    shown = _columns(study)
    rows = _rows(study, shown)
    meaningful = study.board[study.board["status"].map(eligibility.has_result)]
    defaults = _defaults(shown, study.benchmark)
    columns = [_column(column, study, meaningful, rows, index, defaults) for index, column in enumerate(shown)]
    groups: dict[str, list[Json]] = {}
    for column in columns:
        groups.setdefault(_group(column["name"]), []).append(column)
    data = {
        "label": study.benchmark.label,
        "compare": None if study.benchmark.no_target else address(f"compare/{study.benchmark.label}.html"),
        "sections": SECTIONS,
        "columns": columns,
        "rows": rows,
    }
    notes = [render.caption(study.board, study.benchmark)]
    first = [column for column in shown if column.levels and column.name in defaults]
    if first:
        held = ", ".join(f"{_header(column.column)} ({column.comparison})" for column in first)
        made = "What following the gradient makes is held against doing nothing, real images and other methods"
        notes.append(f"{made}: {held}.")
    notes += [*render.attack_notes(study.board, study.benchmark), *_in_part(study)]
    if study.benchmark.second is not None:
        notes += [agreement.sentence() for agreement in agreements(study.board, study.benchmark)]
    return {"table": {"data": data, "facets": _facets(rows), "groups": groups, "notes": notes, "files": files}}


def _in_part(study: Study) -> list[str]:
    """A note below the table, in place of a mark in most of its rows."""
    usual = _usual(study)
    return [f"Of most models: {usual}."] if usual else []


def _usual(study: Study) -> str:
    """What most ranked rows say of optional measures that lack something; empty where fewer do than not."""
    ranked = [row.get(PARTIAL_MEASURES) for row in study.entries.values() if row["status"] == eligibility.RANKED]
    said, count = Counter(ranked).most_common(1)[0] if ranked else (None, 0)
    return said if said and 2 * count > len(ranked) else ""


def _columns(study: Study) -> list[Described]:
    """Every documented column that says something of models, beside rank and model, in the table's order."""
    board = study.board
    of_cards = {
        column.name
        for column in CARD_COLUMNS
        if any(getattr(model.card, column.name) is not None for model in study.models)
    }
    of_board = {str(name) for name in board if name not in _ALWAYS and not board[name].isna().all()}
    described = describe(study).values()
    shown = [column for column in described if column.name in of_cards | of_board and not column.is_level]
    order = (_MODEL, *_GROUPS)
    return sorted(shown, key=lambda column: order.index(_group(column.name)))


def _group(name: str) -> str:
    return next((group for group, prefixes in _GROUPS.items() if name.startswith(prefixes)), _MODEL)


def _header(column: Column) -> str:
    return column.header or column.name.replace("_", " ")


def _defaults(shown: Sequence[Described], benchmark: Benchmark) -> set[str]:
    """Names of the columns that a reader sees first: those with a header that say what no other of them does.

    `alignment` is the ranking column, corrected.
    """
    left_out = {*_NOT_FIRST, benchmark.alignment, *(column.name for column in CARD_COLUMNS)}
    names = {column.name for column in shown if column.column.header} - left_out
    for weaker, stronger in _WEAKER.items():
        if any(name.startswith(stronger) for name in names):
            names -= {name for name in names if name.startswith(weaker)}
    return names


def _column(
    described: Described,
    study: Study,
    meaningful: pd.DataFrame,
    rows: Sequence[Json],
    index: int,
    defaults: Collection[str],
) -> Json:
    """A column as the page shows it.

    Args:
        described: the column.
        study: whose table it is of.
        meaningful: the board's rows that have a result.
        rows: of the table.
        index: of the column's cell in a row.
        defaults: names of the columns that are shown first.

    Returns:
        `definition` is the summary with unit and direction; `kind` is number, text or regime, which has its probability
        beside it; `decimals` are None for numbers without an interval, which are written as they are; `chance` has one
        level, or the least and the largest of the models' own; `anchor` is its place on the page of measures, None for
        what that page does not define.
    """
    column = described.column
    arrow, better = _ARROWS[column.higher_is_better]
    kind = _kind(column.name, study.board)
    chance = [] if described.chance is None else [rounded(described.chance)]
    if kind == "number" and described.chance is None:
        cells = [row["cells"][index] for row in rows if row["meaningful"] and row["section"] != "control"]
        own = [cell[3] for cell in cells if cell is not None and len(cell) > 3 and cell[3] is not None]
        chance = [min(own), max(own)] if own else []
    levels = f" For comparison: {described.comparison}." if described.levels else ""
    summary = f"{column.summary}{levels}"
    unit = f" Unit: {column.unit}." if column.unit else ""
    direction = f" {better.capitalize()}." if better else ""
    return {
        "name": column.name,
        "header": _header(column),
        "unit": column.unit,
        "arrow": arrow,
        "better": better,
        "summary": summary,
        "definition": f"{summary}{unit}{direction}",
        "anchor": _anchor(column.name),
        "kind": kind,
        "default": column.name in defaults,
        "decimals": _decimals(column.name, meaningful),
        "chance": chance,
    }


def _kind(name: str, board: pd.DataFrame) -> Kind:
    if name == "regime":
        return "regime"
    is_number = name in board and pd.api.types.is_numeric_dtype(board[name].dtype)
    return "number" if is_number and not pd.api.types.is_bool_dtype(board[name].dtype) else "text"


def _decimals(name: str, meaningful: pd.DataFrame) -> int | None:
    """As many as the typical uncertainty is worth."""
    if name.startswith("p_") or name == "regime_probability":
        return 2
    if f"{name}_low" not in meaningful:
        return None
    halves = ((meaningful[f"{name}_high"] - meaningful[f"{name}_low"]) / 2).to_numpy(float)
    halves = halves[np.isfinite(halves) & (halves > 0)]
    return decimals(float(np.median(halves))) if halves.size else 3


def _anchor(name: str) -> str | None:
    """The longest defined name that this one begins with: responses and attacks are defined once for all lengths."""
    return max(
        (known for known in _defined_names() if name == known or name.startswith(f"{known}_")), key=len, default=None
    )


@cache
def _defined_names() -> frozenset[str]:
    return frozenset(column.name for group in reference.groups() for column in group.columns)


def _rows(study: Study, shown: Sequence[Described]) -> list[Json]:
    models = {model.card.id: model for model in study.models}
    entries, usual = study.entries, _usual(study)
    tied: dict[str, TieGroup] = {}
    for ranked in study.rankings:
        groups = tie_groups([(entry["rank_low"], entry["rank_high"]) for entry in ranked])
        tied |= {entry["model"]: group for entry, group in zip(ranked, groups, strict=True)}
    kinds = {column.name: _kind(column.name, study.board) for column in shown}
    sections = list(SECTIONS)
    collection = f"{study.benchmark.data_name}/"
    rows = []
    for name, entry in entries.items():
        model, status = models[name], entry["status"]
        group, block = tied.get(name, (0, 0))
        verdict = SELF_REPORTED if model.verification is None else model.verification.verdict
        if model.verification is None and model.card.embargo:
            verdict = UNDER_EMBARGO
        section = "control" if entry["control"] else "ranked" if status == eligibility.RANKED else "unranked"
        if section == "ranked" and entry.get("track") == ON_TARGET:
            section = "target"
        networks = entry.get("networks") or ()
        if len(networks) > 1 and not str(entry["verification"]).startswith("verified"):
            verdict = SELF_REPORTED
        rows.append(
            {
                "id": name,
                "collection": collection if name.startswith(collection) else "",
                "title": model.card.title,
                "page": address(f"models/{name}.html"),
                "section": section,
                "rank": [entry[key] for key in ("rank", "rank_low", "rank_high")] if name in tied else None,
                "group": group,
                "block": block,
                "meaningful": eligibility.has_result(status),
                "reason": "" if status in (eligibility.RANKED, "control") else status.removeprefix("control; "),
                "badges": _badges(entry, model, usual),
                "networks": [_network(one) for one in networks] if len(networks) > 1 else [],
                "facets": {
                    facet: verdict if facet == "verdict" else getattr(model.card, facet) or _NONE for facet in FACETS
                },
                "cells": [_cell(study, model, name, kind) for name, kind in kinds.items()],
            }
        )
    return sorted(rows, key=lambda row: (sections.index(row["section"]), row["rank"] or []))


def _network(one: Mapping[str, Any]) -> Json:
    """A network of a recipe: its page, and its own alignment and accuracy in words."""
    values = [f"{name} {one[name]:.3f}" for name in ("alignment", "accuracy") if one.get(name) is not None]
    return {"id": one["id"], "page": address(f"models/{one['id']}.html"), "values": ", ".join(values)}


def _badges(entry: Mapping[str, Any], model: StudiedModel, usual: str) -> list[dict[str, str]]:
    """Short marks beside the name: what kind it is, the word shown, and the sentence that explains it.

    Args:
        entry: of the leaderboard.
        model: whose it is.
        usual: what is measured in part of most models, and needs no mark.
    """
    badges: list[tuple[str, str, str]] = []
    if len(entry.get("networks") or ()) > 1:
        if str(entry["verification"]).startswith("verified"):
            badges.append(("verified", "verified", f"{entry['verification']}."))
    elif (record := model.verification) is not None:
        reason = f": {record.reason}" if record.reason else ""
        note = f"{record.summary()}{reason} ({origins.versions(record.versions)}; {record.device})."
        badges.append((record.verdict, record.verdict, note))
    elif model.card.embargo:
        badges.append(("flag", "embargo", f"{entry['verification'].capitalize()}."))
    if model.card.trained_on_target:
        badges.append(("target", "on target", "Trained on the benchmark's own target, as its card declares."))
    if entry.get("preflight") not in (None, "ok"):
        badges.append(("flag", "flagged", f"Pre-flight: {entry['preflight']}."))
    if str(entry.get("same_as")).startswith("outputs"):
        badges.append(
            ("flag", "a copy", f"It has the {entry['same_as']}, up to a factor: one network under several ids.")
        )
    if (draws := entry.get(ATTACKED_DRAWS)) is not None:
        note = f"Attacked through the gradient of its {draws:g} fixed draws of noise."
        badges.append(("target", "smoothed", note))
    if entry.get(PARTIAL_MEASURES) not in (None, usual):
        badges.append(("flag", "in part", f"Optional measures that lack images: {entry['partial_measures']}."))
    return [{"kind": kind, "word": word, "note": note} for kind, word, note in badges]


def _facets(rows: Sequence[Json]) -> list[Json]:
    """The filters that have something to choose, and always that of verification, with the number of rows of each."""
    facets = []
    for name, label in FACETS.items():
        values = [row["facets"][name] for row in rows]
        options = [(value, values.count(value)) for value in sorted(set(values), key=lambda v: (v == _NONE, v))]
        if len(options) > 1 or name == "verdict":
            facets.append({"name": name, "label": label, "options": options})
    return facets


def _cell(study: Study, model: StudiedModel, name: str, kind: Kind) -> Any:
    """A text; a number as [value, low, high, chance, bound], of which the last ones may lack; null where there is none.

    A bound is what to write in the place of the number and its interval.
    """
    entry = study.entries[model.card.id]
    value = entry[name] if name in entry else getattr(model.card, name)
    if value is None:
        return None
    if kind == "text":
        return ("yes" if value else "no") if isinstance(value, bool) else str(value)
    if kind == "regime":
        return [value, rounded(entry["regime_probability"])]
    numbers = [rounded(entry.get(f"{name}{part}")) for part in ("", "_low", "_high")]
    numbers.append(rounded(entry.get(f"{name}_chance")) if name in _CHANCE_PER_MODEL else None)
    cell: list[Any] = numbers
    if at_end := bound(name, study.row_interval(model.card.id, name), study.benchmark.sigmas):
        cell = [numbers[0], None, None, None, at_end]
    while cell and cell[-1] is None:
        cell.pop()
    return cell if cell and cell[0] is not None else None
