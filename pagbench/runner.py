"""Runs a benchmark: entrants in, one row per entrant and sample out. Batches, seeds, resume, progress."""

import dataclasses
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from pagbench import benchmarks, columns, devices, maps, measuring, provenance, results
from pagbench.benchmarks import Benchmark
from pagbench.errors import ContractError, PagbenchError, ResultsError, UnknownNameError
from pagbench.measuring import Session, Settings
from pagbench.models import checks, requests
from pagbench.models.loading import Entrant
from pagbench.models.requests import Request
from pagbench.preflight import Refusal


class RunError(PagbenchError):
    """Some entrants failed; `rows` holds the rows of those that did not."""

    def __init__(self, failures: Sequence[str], rows: pd.DataFrame) -> None:
        super().__init__("\n".join(failures))
        self.rows = rows


def run(  # noqa: PLR0913 (every option of the command)
    entrants: nn.Module | str | Path | Iterable[Any] | Mapping[str, nn.Module] = (),
    *,
    benchmark: str | Benchmark = "digits",
    measures: Iterable[str] = (),
    results: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int | None = None,
    overwrite: bool = False,
    anchors: bool = True,
    progress: bool = False,
    tell: Callable[[str], object] = warnings.warn,
) -> pd.DataFrame:
    """Measures entrants on a benchmark. Its anchors are measured too, since regimes are judged between them.

    Args:
        entrants: ids, card files, modules (pixels in [0, 1] → logits), or a mapping from names to modules; none for all
            shipped entrants of the benchmark.
        benchmark: name, `name@version`, or a definition.
        measures: of `pagbench.columns.OPTIONAL`, taken of the named entrants beside the benchmark's own. Their rows are
            kept in folders of their own, and their columns follow the others; NaN for anchors that nobody named.
        results: folder that keeps finished rows; a later run skips them. None keeps nothing.
        limit: measure the first so many samples only; such entrants take no rank.
        batch_size: images at a time; does not change a row.
        device: auto, cpu, cuda, mps.
        seed: of noise and permutation; the benchmark's own by default.
        overwrite: measure again what the folder already has.
        anchors: measure the benchmark's anchors too; false where the rows join a leaderboard that has them.
        progress: show a progress bar.
        tell: called with a line where an anchor that nobody named cannot be measured; the others are.

    Returns:
        One row per entrant and sample, columns as in `pagbench.columns.schema`; the pre-flight cards in
        `.attrs["preflight"]`, the licences in `.attrs["licenses"]`.

    >>> rows = run("control/bayes", benchmark="gaussians", limit=2)
    >>> float(rows.set_index("entrant").loc["control/bayes", "alignment_cosine"].mean().round(4))
    1.0

    Raises:
        PagbenchError: an entrant or a setting is wrong; nothing has been measured.
        RunError: some entrants failed while the others were measured and kept.
    """
    definition = benchmarks.load(benchmark) if isinstance(benchmark, str) else benchmark
    settings = Settings(
        batch_size=_within("batch size", batch_size, 1),
        device=devices.choose_device(device),
        seed=definition.seed if seed is None else _within("seed", seed, 0),
        measures=_optional(measures),
    )
    ids = definition.samples[: None if limit is None else _within("limit", limit, 1)]
    asked = requests.resolve(entrants, definition)
    if anchors:
        asked = _with_anchors(asked, definition, tell)
    if results is None:
        with tempfile.TemporaryDirectory() as folder:
            return _run(asked, _Session(definition, ids, settings, Path(folder), overwrite), progress, tell)
    return _run(asked, _Session(definition, ids, settings, Path(results), overwrite), progress, tell)


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
    return asked + [dataclasses.replace(request, named=False) for request in found]


def _lost(anchor: str, error: PagbenchError) -> str:
    """What a run lacks without an anchor; rows that the results folder has of it stay."""
    return f"the anchor {anchor} is not measured, and without it no regimes are judged: {error}"


def _run(asked: list[Request], session: "_Session", progress: bool, tell: Callable[[str], object]) -> pd.DataFrame:
    benchmark, optional = session.benchmark, session.settings.measures
    jobs = [(request, part) for request in asked for part in (None, *(optional if request.named else ()))]
    finished: dict[str, results.Result] = {}
    failures: list[str] = []
    with measuring.progress_bar(progress) as bar:
        task = bar.add_task(benchmark.label, total=len(jobs) * len(session.ids))
        for number, (request, measure) in enumerate(jobs, start=1):
            name = request.card.id
            bar.update(task, description=name if measure is None else f"{name} {measure}")
            try:
                entrant = _loaded(request, benchmark, tell) if measure is None or name in finished else None
                if entrant is not None:
                    found = session.measure(entrant, request.named, lambda done: bar.advance(task, done), measure)
                    if measure is not None:
                        found = results.with_measure(finished[name], found, benchmark, measure)
                    finished[name] = found
            except PagbenchError as error:
                if isinstance(error, Refusal) and not request.named:
                    tell(_lost(request.card.id, error))
                else:
                    failures.append(str(error))
            bar.update(task, completed=number * len(session.ids))
    rows = results.joined(list(finished.values()))
    if failures:
        raise RunError(failures, rows)
    return rows


def _loaded(request: Request, benchmark: Benchmark, tell: Callable[[str], object]) -> Entrant | None:
    """The entrant; None where an anchor that nobody named is not to be had, as without its weights."""
    try:
        return request.load(benchmark)
    except PagbenchError as error:
        if request.named:
            raise
        tell(_lost(request.card.id, error))
        return None


class _Session(Session):
    """Keeps what it measures in a results folder, and measures only what that lacks."""

    def __init__(
        self, benchmark: Benchmark, ids: Sequence[str], settings: Settings, folder: Path, overwrite: bool
    ) -> None:
        results.check_writable(folder)
        super().__init__(benchmark, ids, settings)
        self.folder, self.overwrite = folder, overwrite

    def measure(
        self, entrant: Entrant, named: bool, advance: Callable[[int], None], measure: str | None = None
    ) -> results.Result:
        """All rows of one entrant: those that the folder has, and the missing ones, checked and measured now.

        Those of the benchmark's own measures, or of an optional one, for which no checks are made again.
        """
        started = time.perf_counter()
        source = provenance.gather(entrant, self.benchmark, seed=self.settings.seed, device=self.settings.device)
        place = results.path_of(self.folder, self.benchmark, entrant.card.id, measure)
        store = results.Store(place, self.benchmark, measure)
        overwrite = self.overwrite and named
        kept = None if overwrite else self._kept(store, source)
        if overwrite:
            store.drop_parts()
        done = set() if kept is None else set(kept.rows["sample_id"])
        missing = [name for name in self.ids if name not in done]
        advance(len(self.ids) - len(missing))
        if missing:
            with measuring.guarded(entrant.card.id, self.settings.batch_size, measure):
                if measure is None:
                    source["preflight"] = self._preflight(entrant)
                source["networks"] = self.targets.networks
                self._check_same(kept, source)
                for rows in self.rows(entrant, missing, measure):
                    store.add(results.Result(rows, source))
                    advance(len(set(rows["sample_id"]) & set(missing)))
                measured = store.load_parts() if overwrite else store.load()
                assert measured is not None
                new = {"networks": self.targets.networks}
                if measure is None:
                    new |= {"preflight": source["preflight"], **self._shown(entrant, measured.rows)}
            wall = round(time.perf_counter() - started, 3)
            kept = results.Result(measured.rows, {**measured.provenance, **new, "wall_seconds": wall})
            store.merge(kept)
        assert kept is not None
        return results.Result(kept.rows[kept.rows["sample_id"].isin(self.ids)], kept.provenance)

    def _preflight(self, entrant: Entrant) -> dict[str, Any]:
        """The entrant's pre-flight card, as plain JSON values.

        Raises:
            Refusal: a check fails.
        """
        settings = self.settings
        card = checks.preflight(entrant, self.benchmark, device=settings.device, batch_size=settings.batch_size)
        if card.verdict == "fail":
            raise Refusal(entrant.card.id, card)
        return card.model_dump(mode="json")

    def _shown(self, entrant: Entrant, rows: pd.DataFrame) -> dict[str, Any]:
        """Small maps for pictures: of the first images, and of those where the entrant is aligned best and worst."""
        test, target, device = self.splits.test, self.targets.target, self.settings.device
        size = self.settings.batch_size
        first = test.select(self.benchmark.samples[: maps.COUNT])
        # the gradients of a Bayes control are the targets of the first images: no need to keep them with every entrant
        wanted = target if self.benchmark.bayes is None else None
        return {
            "maps": provenance.gradient_maps(entrant, first, target=wanted, device=device, batch_size=size),
            "gallery": provenance.gallery(
                entrant, rows, test, self.benchmark.alignment, target=target, device=device, batch_size=size
            ),
        }

    def _kept(self, store: results.Store, source: Mapping[str, Any]) -> results.Result | None:
        kept = store.load()
        self._check_same(kept, source)
        return kept

    def _check_same(self, kept: results.Result | None, source: Mapping[str, Any]) -> None:
        if kept is not None and not kept.same_as(source):
            raise ResultsError(
                f"{source['card']['id']}: {self.folder} holds other results under this id "
                f"({kept.difference(source)}); use another --results folder, or --overwrite and name it"
            )
