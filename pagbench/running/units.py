"""One unit of work: a model on some of a benchmark's samples, checked, measured, and kept in a results folder.

Units may be done in any order, in any process, on any machine that sees the folder, and more than once: what is there
is not measured again, and whoever finds a model's last rows merges them.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from pagbench import columns, results
from pagbench.benchmarks import Benchmark
from pagbench.errors import ContractError, PagbenchError, ResultsError, first_line
from pagbench.models import checks
from pagbench.models.loading import LoadedModel
from pagbench.models.requests import Request
from pagbench.results import DamagedError, Provenance, Result, StoragePath, thumbnails
from pagbench.results.preflight import Refusal
from pagbench.running import provenance
from pagbench.running import session as measuring
from pagbench.running.interrupts import BatchTimeout, CancelToken
from pagbench.running.session import Session, Settings

Advance = Callable[[int], None]
"""Told of so many more finished samples."""


@dataclass(frozen=True)
class Plan:
    """What all units of a run share.

    Attributes:
        benchmark: the definition.
        ids: samples that the run asks for.
        settings: how they are measured.
        folder: results folder, or its URL.
        overwrite: measure named models again, whatever the folder has of them.
        timeout: seconds for a batch, after which its model is given up; None for any time.
        told: what the rows say of the run itself: `command`, `started`.
    """

    benchmark: Benchmark
    ids: tuple[str, ...]
    settings: Settings
    folder: str | StoragePath
    overwrite: bool
    timeout: float | None
    told: Mapping[str, str]

    def samples(self, measure: str | None) -> tuple[str, ...]:
        """The samples that the run asks a measure for: not all measures are taken of all."""
        wanted = set(columns.samples_of(self.benchmark, measure))
        return tuple(name for name in self.ids if name in wanted)


class Unavailable(PagbenchError):
    """An anchor that nobody named is not to be had, as without its weights, or fails a check."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One model on some samples.

    Attributes:
        request: the model, not loaded.
        measure: an optional measure; None for the benchmark's own.
        ids: the samples.
    """

    request: Request
    measure: str | None
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the model, and of an optional measure."""
        return self.request.card.id if self.measure is None else f"{self.request.card.id} {self.measure}"


class Worker:
    """Does units of one run, one after the other; data, targets and the last model are loaded once.

    Args:
        plan: of the run.
        stop: asked after each finished batch.
        tell: told in a line of what was found damaged.
    """

    def __init__(self, plan: Plan, stop: CancelToken, tell: Callable[[str], object]) -> None:
        self._plan, self._stop, self._tell = plan, stop, tell
        self._patience = BatchTimeout(plan.timeout)
        self._loaded: tuple[Request, LoadedModel] | None = None

    @cached_property
    def session(self) -> Session:
        """The benchmark's data and targets.

        Raises:
            DataError: the data set is missing or not what its card says.
        """
        return Session(self._plan.benchmark, self._plan.ids, self._plan.settings)

    def do(self, unit: Unit, advance: Advance) -> None:
        """Measures what the folder lacks of a unit, a batch at a time, and merges the model's rows once it has all.

        Args:
            unit: the unit.
            advance: told of samples that are finished, those that the folder had among them.

        Raises:
            Unavailable: the model, whom nobody named, cannot be loaded or is refused by a check.
            PagbenchError: a named one cannot be or is; or it fails; or the folder does.
            Stopped: a signal has come.
        """
        with self._patience.waiting(unit.request.card.id):
            try:
                model = self._model(unit.request)
                work = _Work(self._plan, self.session, model, unit, self._tell)
                work.do(self._then(advance))
            except Refusal as refusal:
                raise refusal if unit.request.named else Unavailable(str(refusal)) from None

    def _then(self, advance: Advance) -> Advance:
        def finished(samples: int) -> None:
            advance(samples)
            self._patience.restart()
            self._stop.check()

        return finished

    def _model(self, request: Request) -> LoadedModel:
        if self._loaded is None or self._loaded[0] != request:
            self._loaded = None  # the older one's memory first
            try:
                self._loaded = (request, request.load(self._plan.benchmark))
            except PagbenchError as error:
                raise error if request.named else Unavailable(str(error)) from None
            except Exception as error:  # a third party's network, or the lack of memory for it
                raise ContractError(f"{request.card.id}: cannot be loaded ({first_line(error)})") from error
        return self._loaded[1]


class _Work:
    """A unit with what its steps share."""

    def __init__(
        self, plan: Plan, session: Session, model: LoadedModel, unit: Unit, tell: Callable[[str], object]
    ) -> None:
        self._plan, self._session, self._model, self._unit = plan, session, model, unit
        self._name = model.card.id
        self._store = results.store_of(plan.folder, plan.benchmark, self._name, unit.measure)
        self._tell = tell
        self._anew = plan.overwrite and unit.request.named
        settings = plan.settings
        self._source = {
            **provenance.gather(model, plan.benchmark, seed=settings.seed, device=settings.device),
            **plan.told,
        }

    def do(self, advance: Advance) -> None:
        kept = self._kept()
        done = set() if kept is None else set(kept.rows["sample_id"])
        missing = [name for name in self._unit.ids if name not in done]
        advance(len(self._unit.ids) - len(missing))
        with measuring.guarded(self._name, self._unit.measure):
            if missing:
                for rows in self._measured(kept, missing):
                    advance(len(set(rows["sample_id"]) & set(missing)))
            self._finish()

    def _kept(self) -> Result | None:
        """Rows that the folder has; what is damaged there is taken out of the way."""
        load = self._store.load_shards if self._anew else self._store.load
        try:
            kept = load()
        except DamagedError:
            for line in self._store.heal():
                self._tell(f"{self._name}: {line}")
            kept = load()
        self._check_same(kept)
        return kept

    def _measured(self, kept: Result | None, missing: list[str]) -> Iterator[pd.DataFrame]:
        if self._unit.measure is None:
            checked = None if kept is None else kept.document.get("preflight")
            self._source["preflight"] = checked or self._preflight()
        declared = None if self._unit.measure is None else columns.MEASURES[self._unit.measure]
        judged = self._session.judge.record() if declared is not None and "judge" in declared.needs else {}
        self._source["networks"] = {**self._session.targets.networks, **judged}
        self._check_same(kept)
        started = time.perf_counter()
        for rows in self._session.rows(self._model, missing, self._unit.measure):
            seconds = round(time.perf_counter() - started, 3)
            self._store.add(Result(rows, {**self._source, "wall_seconds": seconds}))
            yield rows
            started = time.perf_counter()

    def _preflight(self) -> dict[str, Any]:
        """The model's pre-flight card, as plain JSON values.

        Raises:
            Refusal: a check fails.
        """
        card = checks.preflight(
            self._model,
            self._plan.benchmark,
            device=self._plan.settings.device,
            batch_size=self._session.first_batch,
        )
        if card.verdict == "fail":
            raise Refusal(self._name, card)
        return card.model_dump(mode="json")

    def _finish(self) -> None:
        """Merges the model's rows, with pictures, where all that the run asks for are there."""
        while self._store.shards():
            found = self._store.load_shards() if self._anew else self._store.load()
            self._check_same(found)
            if found is None or not set(found.rows["sample_id"]) >= set(self._plan.samples(self._unit.measure)):
                return
            shown = self._pictures(found.rows)
            if self._store.merge(shown, found.rows["sample_id"], anew=self._anew):
                return

    def _pictures(self, rows: pd.DataFrame) -> dict[str, Any]:
        """Small maps for pictures: of the first images, and of those where the model is aligned best and worst.

        Of an optional measure, what it makes of the first images.
        """
        if self._unit.measure is not None:
            made = self._unit.measure in columns.ABILITIES
            return {"made": self._session.pictures(self._model, self._unit.measure)} if made else {}
        session, benchmark = self._session, self._plan.benchmark
        test, target, device = session.splits.test, session.targets.target, self._plan.settings.device
        size = session.first_batch
        first = test.select(benchmark.samples[: thumbnails.COUNT])
        # the gradients of a Bayes control are the targets of the first images: no need to keep them with every model
        wanted = target if benchmark.bayes is None else None
        return {
            "maps": provenance.gradient_maps(self._model, first, target=wanted, device=device, batch_size=size),
            "gallery": provenance.gallery(
                self._model, rows, test, benchmark.alignment, target=target, device=device, batch_size=size
            ),
        }

    def _check_same(self, kept: Result | None) -> None:
        difference = "" if kept is None else kept.difference(Provenance.model_validate(self._source))
        if difference:
            raise ResultsError(
                f"{self._name}: {self._plan.folder} holds other results under this id "
                f"({difference}); use another --results folder, or --overwrite and name it"
            )
