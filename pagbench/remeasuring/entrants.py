"""All entrants of a results folder under all settings: tables that survive a killed run, and the report of them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import Progress

from pagbench import measuring, results, statistics
from pagbench.benchmarks import Benchmark
from pagbench.errors import ContractError, PagbenchError, ResultsError
from pagbench.interrupts import Stop, listening
from pagbench.models import requests
from pagbench.ranking import board, eligibility, summaries
from pagbench.remeasuring.blocks import Block, measure
from pagbench.remeasuring.preparing import Prepared
from pagbench.results import Result
from pagbench.sensitivity import choices as known
from pagbench.sensitivity import ranking
from pagbench.sensitivity.choices import Alignment, Choice, Response, Setting
from pagbench.sensitivity.ranking import VALUE, Measured, key
from pagbench.sensitivity.report import Entrant, Report

IMAGES = 250
_FEWEST = 2
_TOLERANCE = 2e-3
"""Of a mean over images of what is published, with fewer digits, and what is measured here."""
_CODE = (Path(__file__).parent, Path(known.__file__))


@dataclass(frozen=True)
class _Published:
    """An entrant of the results folder.

    Attributes:
        name: its id.
        family: of its training.
        status: the leaderboard's.
        rows: in the benchmark's order.
        weights: hash of its network's.
    """

    name: str
    family: str
    status: str
    rows: pd.DataFrame
    weights: str


def run(
    benchmark: Benchmark,
    folder: Path,
    *,
    images: int = IMAGES,
    device: torch.device,
    progress: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Report:
    """Ranks the entrants of a results folder anew while one choice of the benchmark moves at a time.

    What is measured stays in the cache folder: a run that was killed goes on.

    Args:
        benchmark: the definition.
        folder: results of its entrants.
        images: the first so many in the cycle of partners; of responses at most `choices.RESPONSES`.
        device: where to compute.
        progress: show a progress bar.
        tell: called with a line for each entrant or setting that is left out.

    Raises:
        CardError: the benchmark ranks by the paper's protocol.
        ResultsError: no results, or fewer than two ranked entrants that can be measured here.
        Stopped: SIGINT or SIGTERM came; what is finished is kept.
    """
    choices = known.of(benchmark)
    published = _read(folder, benchmark)
    _check_enough(published, benchmark)
    prepared = Prepared(benchmark, min(images, len(benchmark.samples)), device)
    with measuring.progress_bar(progress) as bar, listening(Stop()) as stop:
        possible, left_out = _prepared(prepared, choices, bar, stop)
        tables, lost = _Tables(prepared, possible, published, bar, stop).measured()
    for line in (*left_out, *lost):
        tell(f"left out: {line}")
    there = [entrant for entrant in published if entrant.name in tables]
    _check_enough(there, benchmark)
    return _report(benchmark, possible, there, tables, [*left_out, *lost], prepared)


def _read(folder: Path, benchmark: Benchmark) -> list[_Published]:
    """Ranked entrants by rank, then controls with a result; of others nothing can be compared."""
    weights = statistics.resampling_weights(len(benchmark.samples), seed=benchmark.seed)

    def kept(result: Result) -> tuple[summaries.Summary, Result]:
        return summaries.of_result(result, benchmark, weights), result

    found = results.each(folder, benchmark, kept)
    table = board.of([summary for summary, _ in found], benchmark).board
    of = {summary.name: result for summary, result in found}
    chosen = []
    for _, row in table.iterrows():
        name, status = str(row["model"]), str(row["status"])
        result = of[name]
        if status not in (eligibility.RANKED, "control") or len(result.rows) < len(benchmark.samples):
            continue
        rows = result.rows.set_index("sample_id").loc[list(benchmark.samples)]
        chosen.append(_Published(name, str(row["family"]), status, rows, result.provenance["weights_sha256"]))
    return chosen


def _check_enough(found: Sequence[_Published], benchmark: Benchmark) -> None:
    ranked = sum(entrant.status == eligibility.RANKED for entrant in found)
    if ranked < _FEWEST:
        raise ResultsError(
            f"{benchmark.label}: {ranked} ranked entrants that can be measured here, a ranking needs {_FEWEST}; measure "
            f"more with `pagbench run --benchmark {benchmark.name}`"
        )


def _prepared(
    prepared: Prepared, choices: Sequence[Choice], bar: Progress, stop: Stop
) -> tuple[list[Choice], list[str]]:
    settings = sum(len(choice.settings) for choice in choices)
    task = bar.add_task("targets", total=settings * len(prepared.ids))

    def advance(name: str, images: int) -> None:
        bar.update(task, description=f"targets: {name}", advance=images)
        stop.check()

    found = prepared.possible(choices, advance)
    bar.update(task, completed=settings * len(prepared.ids), description="targets")
    return found


class _Tables:
    """Measures every entrant on every block, or reads what an earlier run has left."""

    def __init__(
        self,
        prepared: Prepared,
        choices: Sequence[Choice],
        published: Sequence[_Published],
        bar: Progress,
        stop: Stop,
    ) -> None:
        self._prepared, self._choices, self._published = prepared, choices, published
        self._bar, self._stop = bar, stop
        self._lost: dict[str, str] = {}

    def measured(self) -> tuple[dict[str, pd.DataFrame], list[str]]:
        """Tables by entrant, and why others have none."""
        task = self._bar.add_task("entrants", total=len(self._prepared.ids) * len(self._published))
        found: dict[str, list[pd.DataFrame]] = {entrant.name: [] for entrant in self._published}
        for number, ids in enumerate(self._prepared.parts):
            block = self._prepared.block(number, self._choices)
            for entrant in self._published:
                self._bar.update(task, description=entrant.name)
                if entrant.name not in self._lost:
                    found[entrant.name] += self._table(entrant, block)
                self._bar.update(task, advance=len(ids))
                self._stop.check()
        tables = {name: pd.concat(parts) for name, parts in found.items() if name not in self._lost}
        for entrant in self._published:
            if entrant.name in tables and (flaw := self._difference(entrant, tables[entrant.name])):
                self._lost[entrant.name] = flaw
        kept = {name: table for name, table in tables.items() if name not in self._lost}
        return kept, [f"{name}: {reason}" for name, reason in self._lost.items()]

    def _table(self, entrant: _Published, block: Block) -> list[pd.DataFrame]:
        """One table, or none where the entrant cannot be measured."""
        what = ("sensitivity", _code(repr(self._choices)), entrant.name, entrant.weights)
        try:
            columns = self._prepared.sources.kept(
                what, self._prepared.images(block.ids), lambda: self._computed(entrant, block)
            )
        except PagbenchError as error:
            self._lost[entrant.name] = str(error).removeprefix(f"{entrant.name}: ")
            return []
        return [pd.DataFrame({n: v.cpu().numpy() for n, v in columns.items()}, index=list(block.ids))]

    def _computed(self, entrant: _Published, block: Block) -> dict[str, torch.Tensor]:
        """The columns of an entrant's table.

        Raises:
            PagbenchError: the network cannot be loaded, is another than its rows are of, or fails.
        """
        (request,) = requests.resolve([entrant.name], block.benchmark)
        loaded = request.load(block.benchmark)
        if loaded.weights_sha256 != entrant.weights:
            raise ContractError(f"its rows are of weights {entrant.weights[:12]}, here are {loaded.weights_sha256[:12]}")
        with measuring.guarded(entrant.name):
            table = measure(loaded.classifier.to(block.images.device), block, self._choices)
        return {name: torch.from_numpy(table[name].to_numpy(copy=True)) for name in table}

    def _difference(self, entrant: _Published, table: pd.DataFrame) -> str:
        """How far what is measured here is from the published rows; empty where it is the same."""
        benchmark = self._prepared.benchmark
        choice = next(choice for choice in self._choices if choice.ranking == "alignment")
        there = entrant.rows.loc[list(table.index), benchmark.alignment].to_numpy(float)
        here = table[key(choice, choice.settings[0], VALUE)].to_numpy(float)
        off = float(np.nan_to_num(np.abs(here - there)).max())
        return "" if off < _TOLERANCE else f"its {benchmark.alignment} differs from its published rows by {off:.2g}"


@once
def _code(choices: str) -> str:
    """Hash of the code and of the choices that tables depend on, so that no change of either meets older ones."""
    found = hashlib.sha256(choices.encode())
    for path in _CODE:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()


def _report(
    benchmark: Benchmark,
    choices: Sequence[Choice],
    published: Sequence[_Published],
    tables: Mapping[str, pd.DataFrame],
    left_out: Sequence[str],
    prepared: Prepared,
) -> Report:
    ranked = [entrant for entrant in published if entrant.status == eligibility.RANKED]
    controls = [entrant for entrant in published if entrant.status != eligibility.RANKED]
    measured = Measured(
        benchmark,
        tuple(entrant.name for entrant in ranked),
        tuple(entrant.name for entrant in controls),
        {entrant.name: entrant.family for entrant in published},
        tables,
        {entrant.name: entrant.rows for entrant in published},
    )
    own_steps = _own_steps(choices)
    return Report(
        benchmark=benchmark.label,
        digest=benchmark.digest(),
        images=len(prepared.ids),
        responses=min(len(prepared.ids), known.RESPONSES),
        entrants=tuple(Entrant(id=e.name, family=e.family, ranked=e in ranked) for e in (*ranked, *controls)),
        choices=tuple(ranking.moved(choice, measured, own_steps) for choice in choices),
        left_out=tuple(left_out),
        versions={name: version(name) for name in ("pagbench", "torch", "numpy", "scipy")},
    )


def _own_steps(choices: Sequence[Choice]) -> tuple[Choice, Setting] | None:
    """Where the tables have the published responses."""
    return next(
        ((choice, choice.settings[0]) for choice in choices if isinstance(choice.settings[0].way, Response)), None
    )
