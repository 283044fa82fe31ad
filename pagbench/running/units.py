"""One unit of work: a model on some of a benchmark's samples, checked, measured, and kept in a results folder.

Units may be done in any order, in any process, on any machine that sees the folder, and more than once: rows that are
kept are not measured again, and the unit that completes a model's rows merges them.
"""

import pickle
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle
import pandas as pd

from pagbench import columns
from pagbench.errors import ContractError, PagbenchError, ResultsError, first_line
from pagbench.models import checks, loading
from pagbench.models.loading import LoadedModel
from pagbench.models.registry import Request
from pagbench.results import DamagedError, Provenance, Result, Store
from pagbench.results.preflight import Preflight, Refusal
from pagbench.running import provenance, published, thumbnails
from pagbench.running.config import RunConfig
from pagbench.running.interrupts import BatchTimeout, CancelToken, Stopped
from pagbench.running.session import Session, guarded
from pagbench.storage import global_state

Advance = Callable[[int], None]
"""Called with the number of further samples that are finished."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One model on some samples.

    Attributes:
        request: the model, not loaded.
        measure: an optional measure; None for the benchmark's own.
        ids: the samples; none where the model is only checked.
        preflight: the model's pre-flight card; None where it is not made yet.
    """

    request: Request
    measure: str | None = None
    ids: tuple[str, ...] = ()
    preflight: Preflight | None = None

    @property
    def name(self) -> str:
        """Of the model, with what is done where that is not the benchmark's own measures."""
        if not self.ids:
            return f"pre-flight of {self.request.card.id}"
        return self.request.card.id if self.measure is None else f"{self.request.card.id} {self.measure}"


class Outcome(NamedTuple):
    """What became of a unit.

    Attributes:
        failure: one line where it is not done; empty where it is.
        unavailable: whether its model cannot be loaded or fails a check, and is an anchor that the user did not name.
        warnings: lines for the user.
        stopped: the signal for which it stopped between two batches; 0 where none has come.
        result: all rows of the model that the folder has, where the unit completed or found them in this process.
        preflight: the model's pre-flight card, where it was only checked.
        cause: what the model itself has raised, in this process.
    """

    failure: str = ""
    unavailable: bool = False
    warnings: tuple[str, ...] = ()
    stopped: int = 0
    result: Result | None = None
    preflight: Preflight | None = None
    cause: BaseException | None = None


class Packed(NamedTuple):
    """A unit for another process."""

    request: bytes
    measure: str | None
    ids: tuple[str, ...]
    preflight: Preflight | None


@lru_cache(maxsize=1)
@global_state.known()
def _unpacked(content: bytes) -> Request:
    """The same request for all units of a model, so that it is loaded once."""
    request: Request = pickle.loads(content)
    return request


def pack(units: Sequence[Unit]) -> list[Packed]:
    """Units for another process; each model is packed once.

    Raises:
        ContractError: a model cannot be sent.
    """
    distinct = {id(unit.request): unit.request for unit in units}
    packed = {key: _pickled(request) for key, request in distinct.items()}
    return [Packed(packed[id(unit.request)], unit.measure, unit.ids, unit.preflight) for unit in units]


@global_state.known()
def _pickled(request: Request) -> bytes:
    """A request for another process, on any machine. Classes go by their value unless they are of installed packages.

    Raises:
        ContractError: the module cannot be sent.
    """
    homes = {type(part).__module__ for part in request.network.modules()} if request.network is not None else set()
    by_value = [sys.modules[name] for name in homes if name in sys.modules and not _installed(sys.modules[name])]
    for module in by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(request)
    except Exception as error:  # a third party's module may refuse in any way
        raise ContractError(
            f"{request.card.id}: cannot be sent to another process ({first_line(error)}); use --executor local, or "
            "give it a card with weights"
        ) from None
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return content


def _installed(module: ModuleType) -> bool:
    """Whether other machines have a module, too, as far as one can tell."""
    if module.__name__.partition(".")[0] in ("pagbench", "__main__"):
        return True  # cloudpickle sends what is of the main program by value anyway
    folders = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    file = getattr(module, "__file__", None)
    return file is None or any(Path(file).is_relative_to(folder) for folder in folders)


class _UnloadableError(PagbenchError):
    """A model that cannot be loaded, as without its weights."""


class UnitWorker:
    """Does units of one run, one after the other; data, targets and the last model are loaded once.

    Args:
        config: the run.
        stop: checked after each finished batch.
    """

    def __init__(self, config: RunConfig, stop: CancelToken) -> None:
        self._config, self._stop = config, stop
        self._timeout = BatchTimeout(config.timeout)
        self._loaded: tuple[Request, LoadedModel] | None = None

    @cached_property
    def session(self) -> Session:
        """The benchmark's data and targets.

        Raises:
            DataError: the data set is missing or not what its card says.
        """
        return Session(self._config)

    def do_packed(self, packed: Packed, advance: Advance) -> Outcome:
        """The same as `do` for another process, which reads the rows from the folder."""
        unit = Unit(_unpacked(packed.request), packed.measure, packed.ids, packed.preflight)
        return self.do(unit, advance)._replace(result=None, cause=None)

    def do(self, unit: Unit, advance: Advance) -> Outcome:
        """Measures what the folder lacks of a unit, a batch at a time, and merges the model's rows once all are there.

        A unit without samples only checks its model, and takes the published rows of an anchor.

        Args:
            unit: the unit.
            advance: called with numbers of finished samples, those that the folder already had among them.
        """
        lines: list[str] = []

        def finished(samples: int) -> None:
            advance(samples)
            self._timeout.restart()
            self._stop.check()

        result, preflight = None, None
        try:
            with self._timeout.running(unit.request.card.id):
                if unit.ids:
                    result = self._complete(unit, finished, lines.append)
                else:
                    preflight, result = self._check(unit, finished, lines.append)
        except Stopped as stopped:
            return Outcome(str(stopped), stopped=stopped.number, warnings=tuple(lines))
        except OSError as error:
            return Outcome(f"{unit.name}: the results folder fails ({first_line(error)})", warnings=tuple(lines))
        except PagbenchError as error:
            unavailable = isinstance(error, _UnloadableError | Refusal) and not unit.request.explicit
            return Outcome(str(error), unavailable, tuple(lines), cause=error.__cause__)
        return Outcome(warnings=tuple(lines), result=result, preflight=preflight)

    def _complete(self, unit: Unit, advance: Advance, on_warning: Callable[[str], object]) -> Result | None:
        """Measures a unit; returns the model's rows where the folder then has all that the run asks for.

        Raises:
            _UnloadableError: the model cannot be loaded.
            Refusal: the model fails a check.
            PagbenchError: the model fails otherwise, or the folder does.
            Stopped: a signal has come.
        """
        config, model = self._config, self._load(unit.request)
        store = config.store(model.card.id, unit.measure)
        anew = config.overwrite and unit.request.explicit
        load = partial(store.load, anew=anew)
        source = provenance.gather(model, config)
        kept = self._kept(unit, source, on_warning)
        done = set() if kept is None else set(kept.rows["sample_id"])
        missing = [name for name in unit.ids if name not in done]
        advance(len(unit.ids) - len(missing))
        with guarded(model.card.id, unit.measure):
            if missing:
                if unit.measure is None and unit.preflight is not None:
                    source["preflight"] = unit.preflight.model_dump(mode="json", exclude_none=True)
                judged = unit.measure is not None and "judge" in columns.MEASURES[unit.measure].needs
                judges = self.session.judge.record() if judged else {}
                source["networks"] = {**self.session.targets.networks, **judges}
                self._check_same(kept, source)
                started = time.perf_counter()
                for rows in self.session.rows(model, missing, unit.measure):
                    seconds = round(time.perf_counter() - started, 3)
                    store.add(Result(rows, {**source, "wall_seconds": seconds}))
                    advance(len(set(rows["sample_id"]) & set(missing)))
                    started = time.perf_counter()
                self._check_unchanged(model, store)
            while store.shards():
                kept = load()
                self._check_same(kept, source)
                if kept is None or not self._is_complete(kept, unit.measure):
                    return None
                pictures = thumbnails.build(self.session, model, kept.rows, unit.measure)
                merged = store.merge(pictures, kept.rows["sample_id"], anew=anew)
                if merged is not None:
                    return merged
        return kept if kept is not None and self._is_complete(kept, unit.measure) else None

    def _check(
        self, unit: Unit, advance: Advance, on_warning: Callable[[str], object]
    ) -> tuple[Preflight, Result | None]:
        """The model's pre-flight card, of kept rows where it was shown enough images; and its rows if all are kept.

        Raises:
            As `_complete`.
        """
        advance(0)
        model, images = self._load(unit.request), min(checks.IMAGES, len(self._config.ids))
        kept = self._kept(unit, provenance.gather(model, self._config), on_warning)
        card = None if kept is None else kept.provenance.preflight
        if card is None or (card.images is not None and card.images < images):
            with guarded(model.card.id):
                card = checks.preflight(
                    model,
                    self._config.benchmark,
                    device=self._config.device,
                    batch_size=self.session.first_batch,
                    images=images,
                )
        if card.verdict == "fail":
            raise Refusal(model.card.id, card)
        merged = kept is not None and not self._config.store(model.card.id, None).shards()
        return card, kept if kept is not None and merged and self._is_complete(kept, None) else None

    def _kept(self, unit: Unit, source: dict[str, Any], on_warning: Callable[[str], object]) -> Result | None:
        """The model's rows that the folder has; damaged files are taken out of the way.

        Those that it lacks of an anchor that nobody named are taken from the published results, if these have them.

        Raises:
            ResultsError: they are not of this model and run.
        """
        store = self._config.store(unit.request.card.id, unit.measure)
        load = partial(store.load, anew=self._config.overwrite and unit.request.explicit)
        try:
            kept = load()
        except DamagedError:
            for line in store.heal():
                on_warning(f"{unit.request.card.id}: {line}")
            kept = load()
        self._check_same(kept, source)
        config = self._config
        if unit.request.explicit or unit.measure is not None or config.published is None:
            return kept
        done = set() if kept is None else set(kept.rows["sample_id"])
        if missing := set(config.ids) - done:
            known = {**source, "networks": self.session.targets.networks}
            taken = published.take(config, unit.request.card.id, known, missing)
            if taken is not None:
                store.add(taken)
                return store.merge({}) or load()
        return kept

    def _load(self, request: Request) -> LoadedModel:
        if self._loaded is None or self._loaded[0] != request:
            self._loaded = None  # frees the older one's memory first
            try:
                self._loaded = (request, request.load(self._config.benchmark, self._config.device))
            except PagbenchError as error:
                raise _UnloadableError(str(error)) from error.__cause__
            except Exception as error:  # too little memory for it
                raise ContractError(f"{request.card.id}: cannot be loaded ({first_line(error)})") from error
        return self._loaded[1]

    def _check_unchanged(self, model: LoadedModel, store: Store) -> None:
        """Drops the rows of a network that has come to do something else while it was measured.

        Raises:
            ContractError: it has.
        """
        config = self._config
        with global_state.known():
            now = loading.fingerprint_of(model.classifier, config.benchmark, config.device)
        before, after = (
            provenance.gather(replace(model, fingerprint=seen), config) for seen in (model.fingerprint, now)
        )
        if Result(pd.DataFrame(), before).difference(Provenance.model_validate(after)):
            store.drop_shards()
            raise ContractError(
                f"{model.card.id}: it does something else with the same images after some passes, so that its rows "
                "were dropped; keep no state between calls"
            )

    def _is_complete(self, result: Result, measure: str | None) -> bool:
        return set(result.rows["sample_id"]) >= set(self._config.ids_of(measure))

    def _check_same(self, kept: Result | None, source: dict[str, Any]) -> None:
        difference = "" if kept is None else kept.difference(Provenance.model_validate(source))
        if difference:
            raise ResultsError(
                f"{source['card']['id']}: {self._config.folder} holds other results under this id "
                f"({difference}); give this model another id (--id, in Python its key in a mapping), use another "
                "results folder, or name it and overwrite them (--overwrite, in Python overwrite=True)"
            )
