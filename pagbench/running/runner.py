"""Runs a benchmark: models in, one row per model and sample out."""

import re
import shlex
import sys
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.progress import Progress
from torch import nn

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark
from pagbench.columns import BLOCKS
from pagbench.errors import ContractError, PagbenchError, UnknownNameError
from pagbench.models import devices, requests
from pagbench.models.requests import Request
from pagbench.results import StoragePath
from pagbench.running import executors, provenance, targets
from pagbench.running import session as measuring
from pagbench.running.executors.shares import Share
from pagbench.running.interrupts import CancelToken, Stopped, listening
from pagbench.running.session import Settings
from pagbench.running.units import Plan, Unit

_LONGEST_S = 1e8
TIMEOUT_S = 4 * 3600.0
"""Seconds for a batch, by default; a batch of an honest network takes seconds, of AutoAttack on a CPU up to hours."""


class RunError(PagbenchError):
    """Some models failed; `rows` holds the rows of those that did not."""

    def __init__(self, failures: Sequence[str], rows: pd.DataFrame) -> None:
        super().__init__("\n".join(failures))
        self.rows = rows


def run(  # noqa: PLR0913 (every option of the command)
    models: nn.Module | str | Path | Iterable[Any] | Mapping[str, nn.Module] = (),
    *,
    benchmark: str | Benchmark = "digits",
    measures: Iterable[str] = (),
    results: str | Path | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    seed: int | None = None,
    overwrite: bool = False,
    anchors: bool = True,
    executor: str = "local",
    shard: str | None = None,
    gpus_per_task: float = 1.0,
    timeout: float | None = TIMEOUT_S,
    progress: bool = False,
    tell: Callable[[str], object] = warnings.warn,
) -> pd.DataFrame:
    """Measures models on a benchmark. Its anchors are measured too, since regimes are judged between them.

    Args:
        models: ids, card files, modules (pixels in [0, 1] → logits), or a mapping from names to modules; none for all
            shipped models of the benchmark.
        benchmark: name, `name@version`, or a definition.
        measures: of `pagbench.columns.OPTIONAL`, taken of the named models beside the benchmark's own. Their rows are
            kept in folders of their own, and their columns follow the others; NaN for anchors that nobody named.
        results: folder that keeps finished rows, or its URL; a later run skips them. None keeps nothing.
        limit: measure the first so many samples only; such models take no rank.
        batch_size: images at a time, found by itself by default; does not change a row.
        device: auto, cpu, cuda, mps.
        seed: of noise and permutation; the benchmark's own by default.
        overwrite: measure again what the folder already has.
        anchors: measure the benchmark's anchors too; false where the rows join a leaderboard that has them.
        executor: `local`, in this process; `local:J`, in J others; `ray` or `ray:ADDRESS`, on a Ray cluster.
        shard: `i/n`, the i-th of n shares of every model's samples, for n runs that fill one folder.
        gpus_per_task: share of a GPU that a unit asks a Ray cluster for.
        timeout: seconds for a batch, after which its model is given up; None for any time.
        progress: show a progress bar.
        tell: called with a line where an anchor that nobody named cannot be measured, or a damaged file was found.

    Returns:
        One row per model and sample, columns as in `pagbench.columns.schema`; the pre-flight cards in
        `.attrs["preflight"]`, the licences in `.attrs["licenses"]`.

    >>> rows = run("control/bayes", benchmark="gaussians", limit=2)
    >>> float(rows.set_index("entrant").loc["control/bayes", "alignment_cosine"].mean().round(4))
    1.0

    Raises:
        PagbenchError: a model or a setting is wrong; nothing has been measured.
        RunError: some models failed while the others were measured and kept.
        Stopped: SIGINT or SIGTERM came; finished batches are kept.
    """
    definition = benchmarks.load(benchmark) if isinstance(benchmark, str) else benchmark
    settings = Settings(
        batch_size=None if batch_size is None else _within("batch size", batch_size, 1),
        device=devices.choose_device(device),
        seed=definition.seed if seed is None else _within("seed", seed, 0),
        measures=_optional(measures),
    )
    ids = definition.samples[: None if limit is None else _within("limit", limit, 1)]
    if timeout is not None and not timeout > 0:
        raise ContractError(f"timeout {timeout} is out of range; expected seconds above 0, or inf")
    timeout = None if timeout is None or timeout > _LONGEST_S else timeout
    asked = requests.resolve(models, definition)
    if anchors:
        asked = _with_anchors(asked, definition, tell)
    does, share = executors.find(executor, gpus_per_task=gpus_per_task), Share.parse(shard)
    if overwrite and shard is not None:
        raise ContractError("--overwrite and --shard do not go together: shares would drop each other's rows")
    with _folder(results, alone=not does.needs_shared_storage and shard is None) as folder:
        plan = Plan(definition, ids, settings, folder, overwrite, timeout, _told())
        return _Run(plan, asked, does, share, tell).do(progress)


@contextmanager
def _folder(folder: str | Path | None, *, alone: bool) -> Iterator[str | StoragePath]:
    """Where finished rows are kept: a folder, its URL, or memory that is forgotten afterwards.

    Raises:
        ResultsError: nothing can be written there.
        ContractError: nothing is kept, but others must see it.
    """
    if folder is not None:
        if not alone and str(folder).startswith("memory:"):
            raise ContractError(f"{folder}: other processes are to fill the results, and cannot see this one's memory")
        results.check_writable(folder)
        yield str(folder) if results.is_url(folder) else str(Path(folder).absolute())  # workers are elsewhere
        return
    if not alone:
        raise ContractError("other processes are to fill the results, and those are kept nowhere; give results=")
    memory = StoragePath.parse(f"memory://pagbench/{uuid.uuid4().hex}")
    try:
        yield memory
    except Stopped as stopped:
        raise Stopped(stopped.number, "stopped; nothing was kept, since there is no results folder") from None
    finally:
        memory.remove_folder()


def _told() -> dict[str, str]:
    """The command without keys that a URL may have in it."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": re.sub(r"(://)[^/@\s]*@|\?[^\s']*", r"\1", command), "started": provenance.now()}


def _optional(names: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in chosen:
        if name not in columns.OPTIONAL:
            raise UnknownNameError("optional measure", name, columns.OPTIONAL)
    return chosen


def _within(name: str, value: int, smallest: int) -> int:
    largest = 2**32 - 1
    if not smallest <= value <= largest:
        raise ContractError(f"{name} {value} is out of range; expected {smallest} to {largest}")
    return value


def _with_anchors(asked: list[Request], benchmark: Benchmark, tell: Callable[[str], object]) -> list[Request]:
    present = {request.card.id for request in asked}
    found = []
    for name in benchmark.anchors:
        try:
            found += requests.resolve(name, benchmark) if name not in present else []
        except PagbenchError as error:
            tell(_lost(name, error))
    return asked + [replace(request, named=False) for request in found]


def _lost(anchor: str, error: PagbenchError | str) -> str:
    """What a run lacks without an anchor; rows that the results folder has of it stay."""
    return f"the anchor {anchor} is not measured, and without it no regimes are judged: {error}"


class _Run:
    """One run: its units, who does them, and what became of them."""

    def __init__(
        self,
        plan: Plan,
        asked: Sequence[Request],
        executor: executors.Executor,
        share: Share,
        tell: Callable[[str], object],
    ) -> None:
        self._plan, self._asked, self._executor, self._share, self._tell = plan, asked, executor, share, tell
        self._failures: dict[str, None] = {}
        self._lost: set[str] = set()

    def do(self, progress: bool) -> pd.DataFrame:
        """Does all units, those of optional measures after the benchmark's own, and returns the rows.

        Raises:
            RunError: some models failed.
        """
        with measuring.progress_bar(progress) as bar, listening(CancelToken()) as stop:
            self._all([(request, None) for request in self._asked], bar, stop)
            named = [request for request in self._measured() if request.named]
            self._all([(request, name) for request in named for name in self._plan.settings.measures], bar, stop)
        rows = results.to_frame([found for found in map(self._found, self._measured()) if found is not None])
        for request in self._measured() if self._share == Share() else ():
            there = int((rows["entrant"] == request.card.id).sum()) if len(rows) else 0
            if there < len(self._plan.ids):
                name, folder = request.card.id, self._plan.folder
                self._failures[f"{name}: {folder} has {there} of {len(self._plan.ids)} rows; run again"] = None
        if self._failures:
            raise RunError(list(self._failures), rows)
        return rows

    def _measured(self) -> list[Request]:
        return [request for request in self._asked if request.card.id not in self._lost]

    def _all(self, jobs: Sequence[tuple[Request, str | None]], bar: Progress, stop: CancelToken) -> None:
        units = [unit for request, measure in jobs for unit in self._units(request, measure, len(jobs))]
        if not units:
            return
        left = {id(unit): len(unit.ids) for unit in units}
        task = bar.add_task(self._plan.benchmark.label, total=sum(left.values()))

        def advance(unit: Unit, samples: int) -> None:
            samples = min(samples, left[id(unit)])
            left[id(unit)] -= samples
            bar.update(task, description=unit.name, advance=samples)

        for request, measure in jobs if self._plan.overwrite else ():
            if request.named:
                self._store(request, measure).drop_shards()
        for unit, outcome in self._executor.run(self._plan, units, stop, advance):
            advance(unit, left[id(unit)])
            self._hear(unit, outcome)

    def _units(self, request: Request, measure: str | None, jobs: int) -> Iterator[Unit]:
        """A model's samples of this run's share, in units that keep all workers at work."""
        ids = self._share.of(self._order(measure))
        size = self._executor.unit_size(len(ids), jobs)
        for start in range(0, len(ids), size):
            yield Unit(request, measure, tuple(ids[start : start + size]))

    def _order(self, measure: str | None) -> list[str]:
        """The samples in the order in which a unit shares most: targets, or the blocks of a measure."""
        asked = self._plan.samples(measure)
        wanted, cycle = set(asked), targets.partners(self._plan.benchmark, self._plan.settings.seed)
        return [name for name in (asked if measure in BLOCKS else cycle) if name in wanted]

    def _hear(self, unit: Unit, outcome: executors.Outcome) -> None:
        name = unit.request.card.id
        for line in outcome.told:
            self._tell(line)
        if not outcome.failure:
            return
        if not outcome.unavailable:
            self._failures[outcome.failure] = None
        elif name not in self._lost:
            self._tell(_lost(name, outcome.failure))
        if unit.measure is None:
            self._lost.add(name)

    def _store(self, request: Request, measure: str | None) -> results.Store:
        return results.store_of(self._plan.folder, self._plan.benchmark, request.card.id, measure)

    def _found(self, request: Request) -> results.Result | None:
        """Rows of a model on the samples that were asked for, with those of optional measures."""
        found = self._rows(request, None)
        for measure in self._plan.settings.measures if found is not None and request.named else ():
            other = self._rows(request, measure)
            if found is not None and other is not None:
                found = results.with_measure(found, other, self._plan.benchmark, measure)
        return found

    def _rows(self, request: Request, measure: str | None) -> results.Result | None:
        kept = self._store(request, measure).load()
        if kept is None:
            return None
        return results.Result(kept.rows[kept.rows["sample_id"].isin(self._plan.ids)], kept.document)
