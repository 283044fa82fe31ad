"""The rows of one model while they are measured: a merged file, and the parts of unfinished runs."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.results.files import DamagedError, read, write
from pagbench.results.result import Result
from pagbench.results.samples import positions, whole
from pagbench.storage.paths import StoragePath

PARTS = ".parts"
DAMAGED = ".damaged"
_SUFFIX = ".parquet"


class Store:
    """The rows of one model: a merged file, and parts that unfinished runs have left.

    Every part is written whole and never changes, so that a killed run loses at most the batch it was working on, and
    several runs may fill one folder. Parts lie in a hidden folder, whose name no model can have.

    Args:
        path: the merged file.
        benchmark: fixes schema and order.
        measure: the optional measure whose rows they are; None for the benchmark's own measures.
    """

    def __init__(self, path: Path | StoragePath, benchmark: Benchmark, measure: str | None = None) -> None:
        self._path = StoragePath.parse(path)
        self._parts = self._path.beside(f".{self._path.name}{PARTS}")
        self._benchmark = benchmark
        self._schema = columns.schema(benchmark, measure)
        self._samples = columns.samples_of(benchmark, measure)
        self._shards: dict[str, Result] = {}  # read by the last load: shards never change, so merging reads none again

    def load(self) -> Result | None:
        """Rows of the merged file and of all parts that belong to it, in the benchmark's order; None if there are none.

        Raises:
            ResultsError: a file cannot be read.
        """
        self._shards.clear()
        return self._joined([self._path, *self.parts()])

    def load_parts(self) -> Result | None:
        """Rows of the parts alone."""
        self._shards.clear()
        return self._joined(self.parts())

    def parts(self) -> list[StoragePath]:
        """The parts that there are."""
        return [place for place in self._parts.children() if place.name.endswith(_SUFFIX)]

    def heal(self) -> list[str]:
        """Takes files out of the way whose bytes are not those that were written, for their rows to be measured again.

        Returns:
            One line for each. Damaged parts are removed; a merged file stays beside its place, under another name.
        """
        told = []
        with self._path.parent.lock():  # another run may be at it, or have written the file anew
            for place in [self._path, *self.parts()]:
                try:
                    read(place, self._schema)
                except FileNotFoundError:
                    continue
                except DamagedError as error:
                    told.append(f"{str(error).partition('; ')[0]}; its rows are measured again")
                    if place == self._path:
                        place.beside(f".{place.name}{DAMAGED}").write(place.read())
                    place.remove()
        return told

    def _joined(self, places: Sequence[StoragePath]) -> Result | None:
        found = []
        for place in places:
            try:
                found.append(self._shards.get(place.path) or read(place, self._schema))
                if place != self._path:
                    self._shards[place.path] = found[-1]
            except FileNotFoundError:
                if place != self._path:  # another run has merged it meanwhile
                    return self._joined([self._path, *self.parts()])
        if not found:
            return None
        same = [result for result in found if result.same_as(found[0].provenance)]
        rows = self._ordered([result.rows for result in same])
        fullest = max(same, key=lambda result: len(result.provenance))  # the first of those that have pictures
        seconds = round(sum(result.provenance.get("wall_seconds", 0.0) for result in same), 3)
        return Result(rows, {**fullest.provenance, "runs": _runs(same), "wall_seconds": seconds})

    def _ordered(self, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Each sample once, in the benchmark's order."""
        if len(parts) == 1 and whole(positions(parts[0]["sample_id"], self._benchmark), self._benchmark):
            return parts[0]
        rows = pd.concat(parts, ignore_index=True)
        if len(parts) > 1:
            rows = rows.drop_duplicates("sample_id")
        order = {name: index for index, name in enumerate(self._benchmark.samples)}
        return rows.sort_values("sample_id", key=lambda ids: ids.map(order), kind="stable", ignore_index=True)

    def drop_parts(self) -> None:
        """Forgets what unfinished runs have left."""
        self._parts.remove_folder()

    def add(self, result: Result) -> None:
        """Keeps finished rows as a part, named by what is in it: no other run can overwrite it with fewer."""
        write(self._parts / f"{_name(result)}{_SUFFIX}", result, self._schema)

    def merge(
        self, more: Mapping[str, Any], samples: Collection[str] | None = None, *, anew: bool = False
    ) -> Result | None:
        """Writes all rows as one file, in place of an older one, and drops the parts that are in it.

        No other run merges meanwhile. Behind a URL, where nothing can be locked, a model whose rows are not complete
        stays in parts, the new one among them: two runs there write the same rows in the end, and neither loses any.

        Args:
            more: what the provenance says beside what the parts' does.
            samples: whose rows `more` speaks of; None for any.
            anew: leave out the older file's rows.

        Returns:
            What was merged; None where there is nothing, or where there are rows of other samples by now.
        """
        with self._path.parent.lock():
            parts = self.parts()
            found = self._joined(parts if anew else [self._path, *parts])
            if found is None or (samples is not None and set(found.rows["sample_id"]) != set(samples)):
                return None
            result = Result(found.rows, {**found.provenance, **more})
            whole = set(result.rows["sample_id"]) >= set(self._samples)
            if whole or self._path.local is not None:
                write(self._path, result, self._schema)
            else:
                self.add(result)
                if anew:
                    self._path.remove()
            kept = f"{_name(result)}{_SUFFIX}" if not whole and self._path.local is None else ""
            for part in parts:
                if part.name != kept:
                    part.remove()
            self._parts.remove_if_empty()
            return result


def _name(result: Result) -> str:
    """A name of its own for every set of samples with one provenance."""
    said = json.dumps([sorted(result.rows["sample_id"]), dict(result.provenance)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def _runs(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Which run measured how many rows: rows of one file may come from several."""
    counted: dict[str, dict[str, Any]] = {}
    for result in found:
        own = {key: result.provenance.get(key) for key in ("started", "command", "versions", "commit", "device")}
        for run in result.provenance.get("runs", [{**own, "rows": len(result.rows)}]):
            key = json.dumps({name: value for name, value in run.items() if name != "rows"}, sort_keys=True)
            counted.setdefault(key, {**run, "rows": 0})["rows"] += run["rows"]
    return list(counted.values())
