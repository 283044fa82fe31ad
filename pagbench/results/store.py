"""The rows of one model while they are measured: a merged file, and the shards of unfinished runs."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.results.files import DamagedError, Result, read, write
from pagbench.storage.paths import StoragePath

SHARDS = ".parts"
"""Suffix of the hidden folder of a model's shards."""
_DAMAGED = ".damaged"
_SUFFIX = ".parquet"


class Store:
    """The rows of one model: a merged file, and shards that unfinished runs have left.

    Every shard is written whole and never changes, so that a killed run loses at most the batch it was working on, and
    several runs may fill one folder. Shards lie in a hidden folder, whose name no model can have.

    Args:
        path: the merged file.
        benchmark: fixes schema and order.
        measure: the optional measure whose rows they are; None for the benchmark's own measures.
    """

    def __init__(self, path: Path | StoragePath, benchmark: Benchmark, measure: str | None = None) -> None:
        self._path = StoragePath.parse(path)
        self._folder = self._path.parent / f".{self._path.name}{SHARDS}"
        self._benchmark = benchmark
        self._measure = measure
        self._schema = columns.schema(benchmark, measure)
        self._samples = columns.samples_of(benchmark, measure)
        self._loaded: dict[str, Result] = {}
        """Shards that the last load has read: they never change, so that merging reads none again."""

    def load(self, *, anew: bool = False) -> Result | None:
        """Rows of the merged file and of its shards, in the benchmark's order; None if there are none.

        Args:
            anew: leave out the merged file's rows.

        Raises:
            ResultsError: a file cannot be read.
        """
        self._loaded.clear()
        return self._joined(self.shards() if anew else [self._path, *self.shards()])

    def shards(self) -> list[StoragePath]:
        """Files of the shards."""
        return [path for path in self._folder.children() if path.name.endswith(_SUFFIX)]

    def heal(self) -> list[str]:
        """Takes files out of the way whose bytes are not those that were written, for their rows to be measured again.

        Returns:
            One line for each. Damaged shards are removed; a damaged merged file is kept under another name.
        """
        lines = []
        with self._path.parent.lock():  # another run may be at it, or have written the file anew
            for path in [self._path, *self.shards()]:
                try:
                    self._read(path)
                except FileNotFoundError:
                    continue
                except DamagedError as error:
                    lines.append(f"{str(error).partition('; ')[0]}; its rows are measured again")
                    if path == self._path:
                        (path.parent / f".{path.name}{_DAMAGED}").write(path.read())
                    path.remove()
        return lines

    def _joined(self, paths: Sequence[StoragePath]) -> Result | None:
        loaded = []
        for path in paths:
            try:
                loaded.append(self._loaded.get(path.path) or self._read(path))
                if path != self._path:
                    self._loaded[path.path] = loaded[-1]
            except FileNotFoundError:
                if path != self._path:  # another run has merged it meanwhile
                    return self._joined([self._path, *self.shards()])
        if not loaded:
            return None
        first, *others = loaded
        same = [first, *(result for result in others if not result.difference(first.provenance))]
        fullest = max(same, key=lambda result: len(result.document))  # the first of those that have pictures
        seconds = round(sum(result.provenance.wall_seconds for result in same), 3)
        rows = self._ordered([result.rows for result in same])
        document = {**fullest.document, "runs": _runs(same), "wall_seconds": seconds}
        checked = [result for result in same if result.provenance.preflight is not None]
        if checked:
            document["preflight"] = max(checked, key=_images_shown).document["preflight"]
        return Result(rows, document)

    def _read(self, path: StoragePath) -> Result:
        """One file.

        Raises:
            As `pagbench.results.files.read`; and DamagedError where its rows are not of the benchmark's samples.
        """
        result = read(path, self._schema, len(self._benchmark.samples))
        indices = positions(result.rows["sample_id"], self._benchmark)
        if len(indices) == 0 or indices.min() < 0 or np.bincount(indices).max() > 1:
            raise DamagedError(
                f"{path}: rows are duplicated or not of {self._benchmark.label}, or there are none; run again with "
                "--overwrite"
            )
        return result

    def _ordered(self, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Each sample once, in the benchmark's order."""
        if len(parts) == 1 and (np.diff(positions(parts[0]["sample_id"], self._benchmark), prepend=-1) > 0).all():
            return parts[0]
        rows = pd.concat(parts, ignore_index=True)
        if len(parts) > 1:
            rows = rows.drop_duplicates("sample_id")
        order = {name: index for index, name in enumerate(self._benchmark.samples)}
        return rows.sort_values("sample_id", key=lambda ids: ids.map(order), kind="stable", ignore_index=True)

    def drop_shards(self) -> None:
        """Removes what unfinished runs have left."""
        self._folder.remove_folder()

    def add(self, result: Result) -> None:
        """Keeps finished rows as a shard, named by what is in it: no other run can overwrite it with fewer."""
        write(self._folder / _shard_name(result), result, schema_of(self._benchmark, self._measure))

    def merge(
        self, more: Mapping[str, Any], samples: Collection[str] | None = None, *, anew: bool = False
    ) -> Result | None:
        """Writes all rows as one file, in place of an older one, and drops the shards that are in it.

        No other run merges meanwhile. Where nothing can be locked, as behind a URL, a model whose rows are not complete
        stays in shards, the new one among them: two runs there write the same rows in the end, and neither loses any.

        Args:
            more: what the provenance says beside what the shards' does.
            samples: whose rows `more` speaks of; None for any.
            anew: leave out the older file's rows.

        Returns:
            What was merged; None where there is nothing, or where there are rows of other samples by now.
        """
        with self._path.parent.lock() as locked:
            shards = self.shards()
            joined = self._joined(shards if anew else [self._path, *shards])
            if joined is None or (samples is not None and set(joined.rows["sample_id"]) != set(samples)):
                return None
            result = Result(joined.rows, {**joined.document, **more})
            complete = set(result.rows["sample_id"]) >= set(self._samples)
            if complete or locked:
                write(self._path, result, schema_of(self._benchmark, self._measure))
            else:
                self.add(result)
                if anew:
                    self._path.remove()
            kept = "" if complete or locked else _shard_name(result)
            for shard in shards:
                if shard.name != kept:
                    shard.remove()
            self._folder.remove_if_empty()
            return result


def _images_shown(result: Result) -> float:
    """Images that the pre-flight checks were shown; as many as they take where nothing is said."""
    preflight = result.provenance.preflight
    return math.inf if preflight is None or preflight.images is None else preflight.images


def _shard_name(result: Result) -> str:
    """A name of its own for every set of samples with one provenance."""
    content = json.dumps([sorted(result.rows["sample_id"]), dict(result.document)], sort_keys=True)
    return f"{hashlib.sha256(content.encode()).hexdigest()[:24]}{_SUFFIX}"


def run_of(result: Result) -> dict[str, Any]:
    """The run that a file of one run says, with the number of its rows."""
    own = {key: result.document.get(key) for key in ("started", "command", "versions", "commit", "device")}
    own |= {"numerics": result.document["numerics"]} if "numerics" in result.document else {}
    return {**own, "rows": len(result.rows)}


def _runs(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Which run measured how many rows: rows of one file may come from several."""
    counted: dict[str, dict[str, Any]] = {}
    for result in results:
        for run in result.document.get("runs", [run_of(result)]):
            key = json.dumps({name: value for name, value in run.items() if name != "rows"}, sort_keys=True)
            counted.setdefault(key, {**run, "rows": 0})["rows"] += run["rows"]
    return list(counted.values())


def schema_of(benchmark: Benchmark, measure: str | None = None) -> pa.Schema:
    """`pagbench.columns.schema`, and of the benchmark what numbers depend on, as JSON under `pagbench.benchmark`.

    Its `label`, the `digest` of its definition, its `epsilon` and its `sigma` in pixel units, null where it has none.
    """
    facts = {
        "label": benchmark.label,
        "digest": benchmark.digest(),
        "epsilon": benchmark.epsilon,
        "sigma": benchmark.sigma,
    }
    return columns.schema(benchmark, measure).with_metadata({"pagbench.benchmark": json.dumps(facts)})


def positions(sample_ids: "pd.Series[Any]", benchmark: Benchmark) -> NDArray[np.int64]:
    """Index of each sample in the benchmark's order, shape (n,); -1 for samples that are not its own."""
    ids, known = pa.array(sample_ids, from_pandas=True).cast(pa.string()), _arrow_array(benchmark.samples)
    if isinstance(ids, pa.ChunkedArray):  # of data frames that were put together
        ids = pa.concat_arrays(ids.chunks)
    if ids.equals(known):
        return np.arange(len(known))
    return np.asarray(pc.fill_null(pc.index_in(ids, value_set=known), -1)).astype(np.int64)


def labels_of(rows: pd.DataFrame, benchmark: Benchmark) -> NDArray[np.int16]:
    """Class of each of a benchmark's samples, as rows say, shape (samples,); -1 where there is none."""
    labels = np.full(len(benchmark.samples) + 1, -1, np.int16)  # the last one is that of unknown samples
    labels[positions(rows["sample_id"], benchmark)] = rows["label"].clip(-1, np.iinfo(np.int16).max)
    return labels[:-1]


@lru_cache(maxsize=8)
def _arrow_array(samples: tuple[str, ...]) -> pa.Array:
    """One array for all models of a benchmark."""
    return pa.array(samples, pa.string())
