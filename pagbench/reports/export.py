"""One model's scores for elsewhere: the YAML that Hugging Face's hub reads, and badges for a README. No torch."""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from pagbench import ranking
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError, UnknownNameError, printable, warn
from pagbench.ranking import eligibility, render
from pagbench.ranking.joining import ON_TARGET
from pagbench.results.folders import OnWarning, find_models
from pagbench.results.plain import is_plausible
from pagbench.results.verification import SELF_REPORTED, UNDER_EMBARGO

HUB_FOLDER = ".eval_results"
"""Where a model repository on the hub keeps such files."""
TASKS = ("alignment", "accuracy")
"""Columns that are exported; the ids of the hub's tasks."""
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_COLOURS = {"green": "#3a7d1e", "blue": "#0a66b0", "orange": "#a84f00", "red": "#b3261e", "lightgrey": "#5f6368"}
"""Names that shields.io knows, and what the SVG draws: white text stands out on each."""
_CHARACTER, _PADDING, _HEIGHT = 6.6, 6.0, 20


class Badge(NamedTuple):
    """A label and a message in a colour, as shields.io has them."""

    label: str
    message: str
    colour: str

    def to_json(self) -> str:
        """A shields.io endpoint: https://shields.io/badges/endpoint-badge."""
        content = {"schemaVersion": 1, "label": self.label, "message": self.message, "color": self.colour}
        return json.dumps(content) + "\n"

    def to_svg(self) -> str:
        """A picture that needs no other file."""
        left, right = (round(len(text) * _CHARACTER + 2 * _PADDING, 1) for text in (self.label, self.message))
        said = html.escape(f"{self.label}: {self.message}")
        texts = "".join(
            f'<text x="{x + _PADDING:g}" y="14" textLength="{width - 2 * _PADDING:g}">{html.escape(text)}</text>'
            for x, width, text in ((0, left, self.label), (left, right, self.message))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right:g}" height="{_HEIGHT}" role="img" '
            f'aria-label="{said}"><title>{said}</title><rect width="{left:g}" height="{_HEIGHT}" fill="#444"/>'
            f'<rect x="{left:g}" width="{right:g}" height="{_HEIGHT}" fill="{_COLOURS[self.colour]}"/>'
            f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g></svg>\n'
        )


class Standing(NamedTuple):
    """A model's row of the leaderboard, and what is said around it.

    Attributes:
        benchmark: the definition.
        row: columns of the leaderboard; None where a column has no value.
        ranked: how many models are.
        started: when it was measured; empty where that is not known.
    """

    benchmark: Benchmark
    row: Mapping[str, Any]
    ranked: int
    started: str = ""

    @property
    def trust(self) -> str:
        """Verified, refuted or self-reported, the latter with an embargo where there is one."""
        verdict = re.split(r"[ ,]", str(self.row["verification"]))[0]
        return f"{SELF_REPORTED}, {UNDER_EMBARGO}" if UNDER_EMBARGO in self.row["verification"] else verdict

    @property
    def place(self) -> str:
        """The rank with its interval; or that there is none, and of which kind."""
        if self.row["status"] == eligibility.RANKED:
            apart = " of those trained on the target" if self.row.get("track") == ON_TARGET else ""
            return f"rank {render.rank(pd.Series(dict(self.row)))} of {self.ranked}{apart}"
        return "no rank"


def find(folder: Path, model: str, benchmark: Benchmark, on_warning: OnWarning = warn) -> Standing:
    """Where a model of a results folder stands.

    Args:
        folder: of results.
        model: its id.
        benchmark: the definition.
        on_warning: called with a line for each file of the folder that is damaged or somebody else's, and left out.

    Raises:
        UnknownNameError: it has no results; the message has the closest ids.
        ResultsError: results cannot be read or combined.
    """
    board = ranking.leaderboard(folder, benchmark=benchmark, on_warning=on_warning)
    row_of = {name: name for name in board["model"]}
    for name, networks in zip(board["model"], board["networks"], strict=True) if "networks" in board else ():
        row_of |= {one["id"]: name for one in networks} if isinstance(networks, list) else {}
    if model not in row_of:
        raise UnknownNameError("model", model, row_of)
    row = board[board["model"] == row_of[model]].iloc[0]
    known = {str(name): value for name, value in row.items()}
    known = {name: value if isinstance(value, list) or not pd.isna(value) else None for name, value in known.items()}
    ranked = board["rank"].notna() & (board["track"] == row["track"] if "track" in board else True)
    (files,) = [files for files in find_models(folder, benchmark) if files.name == model]
    result = files.read()
    started = "" if result is None else result.provenance.started or ""
    return Standing(benchmark, known, int(ranked.sum()), started)


def badge(standing: Standing) -> Badge:
    """Rank and trust of a ranked model; of another why it has none."""
    status, label = str(standing.row["status"]), f"pagbench {standing.benchmark.label}"
    if standing.trust == "refuted":
        return Badge(label, "refuted", "red")
    if status == eligibility.RANKED:
        colour = "orange" if UNDER_EMBARGO in standing.trust else "green" if standing.trust == "verified" else "blue"
        return Badge(label, f"{standing.place}, {standing.trust}", colour)
    if not eligibility.has_result(status):
        return Badge(label, "no result", "lightgrey")
    if standing.row["control"]:
        return Badge(label, "control", "lightgrey")
    reason = "tried out" if standing.benchmark.no_target else status.partition(":")[0]
    return Badge(label, f"no rank, {reason}", "lightgrey")


def hub_yaml(standing: Standing, *, dataset: str | None = None, source: str | None = None) -> str:
    """The file for `.eval_results/` of a model repository on the hub: https://huggingface.co/docs/hub/eval-results.

    Args:
        standing: the model's.
        dataset: the hub's dataset repository that has the benchmark's leaderboard; `pagbench/<name>` by default.
        source: address of a page that the values are from.

    Raises:
        ResultsError: the model has no rank, or an argument is not what the hub takes.
    """
    row, benchmark = standing.row, standing.benchmark
    model, status, identifier = row["model"], str(row["status"]), dataset or f"pagbench/{benchmark.name}"
    if benchmark.no_target:
        raise ResultsError(f"{model}: nothing to export from {benchmark.label}: {benchmark.no_target}")
    if status != eligibility.RANKED:
        raise ResultsError(f"{model}: nothing to export from {benchmark.label}, for it has no rank: {status}")
    if not _DATASET.fullmatch(identifier):
        raise ResultsError(f"dataset {identifier[:80]!r}: expected <owner>/<name> of the hub, as pagbench/digits")
    if source is not None and not source.startswith("https://"):
        raise ResultsError(f"source {source[:80]!r}: expected an address that begins with https://")
    entries = []
    for task in TASKS:
        if row.get(task) is None:
            continue
        interval = f"95 % interval {row[f'{task}_low']:.4f} to {row[f'{task}_high']:.4f}"
        entry: dict[str, Any] = {"dataset": {"id": identifier, "task_id": task}, "value": round(float(row[task]), 4)}
        if is_plausible(standing.started):
            entry["date"] = standing.started
        if source is not None:
            entry["source"] = {"url": source, "name": "pagbench"}
        place = f"; {standing.place}" if task == "alignment" else ""
        entry["notes"] = (
            f"{benchmark.label}, definition sha256 {benchmark.digest()[:16]}, {row['n_total']} images, "
            f"{interval}{place}; {printable(row['verification'])}"
        )
        entries.append(entry)
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=100)
