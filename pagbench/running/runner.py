"""Runs a benchmark: models in, one row per model and sample out."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd
from rich.progress import Progress
from torch import nn

from pagbench import benchmarks, columns, results
from pagbench.benchmarks import Benchmark, partners
from pagbench.columns import BLOCKS
from pagbench.errors import ContractError, DataError, PagbenchError, ResultsError, warn
from pagbench.models import devices, registry
from pagbench.models.loading import accepting, check_shapes
from pagbench.models.registry import Request
from pagbench.results import Result, StoragePath
from pagbench.results.preflight import Preflight
from pagbench.running import executors, provenance
from pagbench.running.config import RunConfig, Share
from pagbench.running.executors import Executor
from pagbench.running.interrupts import CancelToken, Stopped, listening
from pagbench.running.progress import progress_bar
from pagbench.running.units import Outcome, Unit
from pagbench.storage.files import at_home, can_lock

_LONGEST_S = 1e8
TIMEOUT_S = 4 * 3600.0
"""Seconds for a batch, by default; a batch of an honest network takes seconds, of AutoAttack on a CPU up to hours."""


class RunError(PagbenchError):
    """Some models failed; `rows` holds the rows of those that did not."""

    def __init__(self, failures: Sequence[str], rows: pd.DataFrame) -> None:
        super().__init__("\n".join(failures))
        self.rows = rows


@accepting(entrants="models", tell="on_warning")
def run(  # noqa: PLR0913 (every option of the command)
    models: nn.Module | str | Path | Iterable[Any] | Mapping[str, Any] = (),
    benchmark: str | Benchmark = "digits",
    *,
    measures: Iterable[str] = (),
    results: str | Path | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    seed: int | None = None,
    overwrite: bool = False,
    anchors: bool = True,
    published: str | Path | None = None,
    executor: str = "local",
    shard: str | None = None,
    gpus_per_task: float = 1.0,
    timeout: float | None = TIMEOUT_S,
    progress: bool = False,
    on_warning: Callable[[str], object] = warn,
) -> pd.DataFrame:
    """Measures models on a benchmark. Its anchors' rows come too, since regimes are judged between them.

    Rows of an anchor that is not named are taken from the published results, where the same network is published by the
    same definition and revision of the measures, and does the same with probe images here. Name it to measure it.

    Args:
        models: ids, patterns of ids, as `robustbench/cifar10/L2/*`, or their ends alone; card files,
            `path.py:function`, modules (pixels in [0, 1] → logits), or a mapping from ids of your own to one model
            each; none for all shipped models of the benchmark.
        benchmark: name, `name@version`, or a definition.
        measures: of `pagbench.columns.OPTIONAL`, taken of the named models beside the benchmark's own. Their rows are
            kept in folders of their own, and their columns follow the others; NaN for anchors that were not named.
        results: folder that keeps finished rows, or its URL; a later run skips them. None keeps nothing.
        limit: measure the first so many samples only; such models take no rank.
        batch_size: images at a time, found by itself by default; does not change a row.
        device: auto, cpu, cuda, mps.
        seed: of noise and permutation; the benchmark's own by default.
        overwrite: measure again what the folder already has.
        anchors: add the benchmark's anchors; false where the rows join a leaderboard that has them.
        published: folder of published results, or its URL; by default that of the checkout which this package is in.
        executor: `local`, in this process; `local:J`, in J others; `ray` or `ray:ADDRESS`, on a Ray cluster.
        shard: `i/n`, the i-th of n shares of every model's samples, for n runs that fill one folder.
        gpus_per_task: share of a GPU that a unit asks a Ray cluster for.
        timeout: seconds for a batch, after which its model is given up; None for any time.
        progress: show a progress bar.
        on_warning: called with a line where an anchor that was not named cannot be measured, a file is damaged, or the
            folder's file system has no locks; and at the end for each flag of a named model's pre-flight checks, with
            what to do.

    Returns:
        One row per model and sample, columns as in `pagbench.columns.schema`. The `alignment` of a leaderboard is the
        mean of `alignment_cosine`, or of what the benchmark ranks by instead, corrected for chance. The pre-flight
        cards are in `.attrs["preflight"]`, the licences in `.attrs["licenses"]`, a line for each flag of a named model
        in `.attrs["flags"]`, and the models whose rows are all published ones in `.attrs["published"]`.

    A network of one's own, and the Bayes classifier by its id:

    >>> rows = run({"mine": network}, "digits")  # doctest: +SKIP
    >>> pagbench.leaderboard(rows)  # doctest: +SKIP
    >>> rows = run("control/bayes", benchmark="gaussians", limit=2)
    >>> float(rows.set_index("entrant").loc["control/bayes", "alignment_cosine"].mean().round(4))
    1.0

    Raises:
        PagbenchError: a model or a setting is wrong; nothing has been measured.
        RunError: some models failed while the others were measured and kept.
        Stopped: SIGINT or SIGTERM came; finished batches are kept.
    """
    definition = benchmarks.load(benchmark)
    batch_size = None if batch_size is None else _within("batch size", batch_size, 1)
    chosen_device = devices.choose_device(device)
    seed = definition.seed if seed is None else _within("seed", seed, 0)
    optional = columns.choose_optional(measures)
    ids = definition.samples[: None if limit is None else _within("limit", limit, 1)]
    if timeout is not None and not timeout > 0:
        raise ContractError(f"timeout {timeout} is out of range; expected seconds above 0, or inf")
    requested = registry.resolve(models, definition)
    if anchors:
        requested = _with_anchors(requested, definition, on_warning)
    chosen, share = executors.find(executor, gpus_per_task=gpus_per_task), Share.parse(shard)
    if overwrite and shard is not None:
        raise ContractError("overwrite and shard do not go together: shares would drop each other's rows")
    shared = chosen.needs_shared_storage or shard is not None
    with (
        _folder(results, shared=shared, on_warning=on_warning) as folder,
        progress_bar(progress) as bar,
        listening(CancelToken()) as stop,
    ):
        config = RunConfig(
            benchmark=definition,
            ids=ids,
            device=chosen_device,
            seed=seed,
            batch_size=batch_size,
            measures=optional,
            folder=folder,
            published=_published(published),
            overwrite=overwrite,
            timeout=None if timeout is None or timeout > _LONGEST_S else timeout,
            command=provenance.command(),
            started=provenance.now(),
        )
        state = _State(config, requested, on_warning)
        for label, units in state.phases(chosen, share):
            if not units:
                continue
            shown = _Shown(bar, label, units)
            try:
                for unit, outcome in chosen.run(config, units, stop, shown.advance):
                    shown.finish(unit, outcome)
                    state.handle_outcome(unit, outcome)
            except DataError as error:
                raise DataError("\n".join([*state.failures, str(error)])) from error
        rows = state.rows(complete=shard is None)
        rows.attrs["flags"] = state.flags()
        for line in rows.attrs["flags"]:
            on_warning(line)
        if state.failures:
            raise RunError(list(state.failures), rows) from state.cause
        return rows


__test__ = {"run": run}  # for doctest, which takes a decorated function for one of the decorator's module


class _State:
    """What has become of a run's units so far."""

    def __init__(self, config: RunConfig, requested: Sequence[Request], on_warning: Callable[[str], object]) -> None:
        self._config, self._requested, self._on_warning = config, requested, on_warning
        self._excluded: set[str] = set()
        self._results: dict[tuple[str, str | None], Result] = {}
        self._preflights: dict[str, Preflight] = {}
        self.failures: dict[str, None] = {}
        self.cause: BaseException | None = None
        """What the only model that failed has raised; None where several did, for it keeps the model in memory."""

    @property
    def _models(self) -> list[Request]:
        """Those whose own rows could be measured so far."""
        return [request for request in self._requested if request.card.id not in self._excluded]

    def phases(self, executor: Executor, share: Share) -> Iterator[tuple[str, list[Unit]]]:
        """What is shown, and the units, of each phase; each depends on what became of those before.

        Named models are checked first: where none of them can be measured, no anchor is. Optional measures are taken of
        those alone whose own rows could be measured.
        """
        label = self._config.benchmark.label
        for request in self._models:  # before data are fetched for it
            try:
                check_shapes(request.card, self._config.benchmark, request.origin)
            except ContractError as error:
                self.handle_outcome(Unit(request), Outcome(str(error), unavailable=not request.explicit))
        yield f"{label}: pre-flight", [Unit(request) for request in self._models if request.explicit]
        if not any(request.explicit for request in self._models):
            self._excluded.update(request.card.id for request in self._requested)
        yield f"{label}: pre-flight", [Unit(request) for request in self._models if not request.explicit]
        for measures in ([None], self._config.measures):
            yield label, _units(self._config, self._jobs(measures), executor, share, self._preflights)

    def flags(self) -> list[str]:
        """A line for every flag of a named model, with what to do."""
        named = [request.card for request in self._requested if request.explicit and not request.card.control]
        return [
            f"{card.id}: {check.name}: {check.sentence()}"
            for card in named
            if card.id in self._preflights
            for check in self._preflights[card.id].flags
        ]

    def _jobs(self, measures: Sequence[str | None]) -> list[tuple[Request, str | None]]:
        """Models with what is still to be measured of them; optional measures are for named models."""
        pairs = [(request, measure) for request in self._models for measure in measures]
        return [
            (request, measure)
            for request, measure in pairs
            if (measure is None or request.explicit) and (request.card.id, measure) not in self._results
        ]

    def handle_outcome(self, unit: Unit, outcome: Outcome) -> None:
        """Keeps the rows that are at hand, and passes on what the user should know."""
        name = unit.request.card.id
        for line in outcome.warnings:
            self._on_warning(line)
        if outcome.preflight is not None:
            self._preflights[name] = outcome.preflight
        if outcome.result is not None:
            self._results[name, unit.measure] = outcome.result
        if not outcome.failure:
            return
        if not outcome.unavailable:
            self.cause = None if self.failures else outcome.cause
            self.failures[outcome.failure] = None
        elif name not in self._excluded:
            self._on_warning(_without_anchor(name, outcome.failure))
        if unit.measure is None:
            self._excluded.add(name)

    def rows(self, *, complete: bool) -> pd.DataFrame:
        """Rows of all models, with those of optional measures.

        Args:
            complete: a model that lacks rows is a failure, since no other run will add them.
        """
        found = [result for result in map(self._result, self._models) if result is not None]
        rows = results.to_frame(found)
        rows.attrs["published"] = [result.name for result in found if result.provenance.all_published]
        for request in self._models if complete else ():
            name, wanted = request.card.id, len(self._config.ids)
            count = int((rows["entrant"] == name).sum()) if len(rows) else 0
            if count < wanted:
                self.failures[f"{name}: {self._config.folder} has {count} of {wanted} rows; run again"] = None
        return rows

    def _result(self, request: Request) -> Result | None:
        """None where there are no rows yet, or none that can be read, which is a failure of this model alone."""
        name = request.card.id
        try:
            result = self._rows_of(name, None)
            if result is None or not request.explicit:
                return result
            for measure in self._config.measures:
                other = self._rows_of(name, measure)
                if other is not None:
                    result = results.with_measure(result, other, self._config.benchmark, measure)
            return result
        except ResultsError as error:
            self.failures[str(error)] = None
            return None

    def _rows_of(self, name: str, measure: str | None) -> Result | None:
        """Rows on the run's samples: those that were merged here, or what other processes have written."""
        result = self._results.get((name, measure)) or self._config.store(name, measure).load()
        if result is None:
            return None
        return replace(result, rows=result.rows[result.rows["sample_id"].isin(self._config.ids)])


def _units(
    config: RunConfig,
    jobs: Sequence[tuple[Request, str | None]],
    executor: Executor,
    share: Share,
    preflights: Mapping[str, Preflight],
) -> list[Unit]:
    """This run's share of the samples of all models, in units that keep all workers at work.

    What unfinished runs have left of models that are measured again is dropped.
    """
    units = []
    cycle = partners.cycle(config.benchmark, config.seed)
    for request, measure in jobs:
        if config.overwrite and request.explicit:
            config.store(request.card.id, measure).drop_shards()
        wanted = config.ids_of(measure)
        known = set(wanted)
        # units share most targets along the cycle of partners, or the blocks of a measure in the benchmark's order
        ids = share.select(wanted if measure in BLOCKS else [name for name in cycle if name in known])
        size = executor.unit_size(len(ids), len(jobs))
        parts = [tuple(ids[start : start + size]) for start in range(0, len(ids), size)]
        units += [Unit(request, measure, part, preflights[request.card.id]) for part in parts]
    return units


class _Shown:
    """The bar of one phase: finished samples; those of a unit that is begun again count once, and lost ones never."""

    def __init__(self, bar: Progress, label: str, units: Sequence[Unit]) -> None:
        self._bar, self._left = bar, {id(unit): _size(unit) for unit in units}
        self._task = bar.add_task(label, total=sum(self._left.values()))

    def advance(self, unit: Unit, samples: int) -> None:
        """So many further samples of a unit are finished."""
        samples = min(samples, self._left[id(unit)])
        self._left[id(unit)] -= samples
        self._bar.update(self._task, description=unit.name, advance=samples)

    def finish(self, unit: Unit, outcome: Outcome) -> None:
        """A unit is over: all of it is finished, or it has failed and what is left of it stays undone."""
        if outcome.failure:
            self._bar.update(self._task, description=f"{unit.name} failed")
        else:
            self.advance(unit, _size(unit))


def _size(unit: Unit) -> int:
    return len(unit.ids) or 1


@contextmanager
def _folder(
    folder: str | Path | None, *, shared: bool, on_warning: Callable[[str], object]
) -> Iterator[str | StoragePath]:
    """The folder of finished rows, or its URL, or memory that is emptied afterwards.

    Raises:
        ResultsError: nothing can be written there.
        ContractError: nothing is kept, but other processes must see it.
    """
    if folder is not None:
        if shared and str(folder).startswith("memory:"):
            raise ContractError(f"{folder}: other processes are to fill the results, and cannot see this one's memory")
        results.check_writable(folder)
        if not results.is_url(folder) and not can_lock(at_home(folder)):
            on_warning(
                f"{folder}: its file system has no locks, so that batches stay in files of their own until a model has "
                "all of the benchmark's samples"
            )
        yield str(folder) if results.is_url(folder) else str(at_home(folder).absolute())  # workers may have another cwd
        return
    if shared:
        raise ContractError("other processes are to fill the results, and those are kept nowhere; give results=")
    memory = StoragePath.parse(f"memory://pagbench/{uuid.uuid4().hex}")
    try:
        yield memory
    except Stopped as stopped:
        raise Stopped(stopped.number, "stopped; nothing was kept, since there is no results folder") from None
    finally:
        memory.remove_folder()


def _published(folder: str | Path | None) -> Path | None:
    """The folder that rows of anchors are taken from; an installed package has none of its own."""
    if folder is None:
        return results.PUBLISHED if results.PUBLISHED.is_dir() else None
    return results.published_folder(folder)


def _within(name: str, value: int, smallest: int) -> int:
    largest = 2**32 - 1
    if not isinstance(value, Integral):
        raise ContractError(f"{name} {value!r} is no whole number; expected {smallest} to {largest}")
    if not smallest <= value <= largest:
        raise ContractError(f"{name} {value} is out of range; expected {smallest} to {largest}")
    return value


def _with_anchors(requested: list[Request], benchmark: Benchmark, on_warning: Callable[[str], object]) -> list[Request]:
    present = {request.card.id for request in requested}
    anchors = []
    for name in benchmark.anchors:
        try:
            anchors += registry.resolve(name, benchmark) if name not in present else []
        except PagbenchError as error:
            on_warning(_without_anchor(name, error))
    return requested + [replace(request, explicit=False) for request in anchors]


def _without_anchor(name: str, error: PagbenchError | str) -> str:
    return f"the anchor {name} is not measured, and without it no regimes are judged: {error}"
