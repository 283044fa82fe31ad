"""Results on disk: one Parquet file per benchmark and entrant, one row per sample, provenance inside."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError

FORMAT = 1
_KEY = b"pagbench"
_IDENTITY = ("format", "benchmark_digest", "weights_sha256", "behaviour", "seed")


@dataclass(frozen=True)
class Result:
    """Rows of one entrant on one benchmark, and where they come from.

    Attributes:
        rows: one row per sample, columns of `pagbench.columns.schema`; null (NaN) means not scored.
        provenance: format, benchmark, benchmark_digest, card, behaviour, weights_sha256, seed, command, versions,
            device, ...
    """

    rows: pd.DataFrame
    provenance: Mapping[str, Any]

    def same_as(self, provenance: Mapping[str, Any]) -> bool:
        """Whether rows measured under the other provenance would be these rows."""
        return all(self.provenance.get(key) == provenance.get(key) for key in _IDENTITY)

    def difference(self, provenance: Mapping[str, Any]) -> str:
        """Names what differs, with both values shortened."""
        return ", ".join(
            f"{key} {str(self.provenance.get(key))[:12]} instead of {str(provenance.get(key))[:12]}"
            for key in _IDENTITY
            if self.provenance.get(key) != provenance.get(key)
        )


def path_of(folder: Path, benchmark: Benchmark, entrant: str) -> Path:
    """`<folder>/<name>@<version>/<entrant>.parquet`; an id cannot leave the folder (`pagbench.cards.Identifier`)."""
    return folder / benchmark.label / f"{entrant}.parquet"


def check_writable(folder: Path) -> None:
    """Makes the folder and tries to write into it.

    Raises:
        ResultsError: it is a file, or not writable.
    """
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot write results there ({error.strerror or error}); give another --results folder"
        ) from None


def write(path: Path, result: Result, schema: pa.Schema) -> None:
    """Writes a file beside its place, then renames: readers see the old file or the new one, never half of one.

    Raises:
        ResultsError: the disk refuses.
    """
    table = pa.Table.from_pandas(result.rows, schema=schema, preserve_index=False)
    table = table.replace_schema_metadata({_KEY: json.dumps(dict(result.provenance), sort_keys=True)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(path)
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write results ({error.strerror or error}); finished parts are kept"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Result:
    """Reads one results file.

    Raises:
        ResultsError: it is not a results file of this format.
    """
    try:
        table = pq.read_table(path)
        provenance = json.loads((table.schema.metadata or {})[_KEY])
    except KeyError:
        raise ResultsError(
            f"{path}: a Parquet file without pagbench's provenance; move it out of the results folder"
        ) from None
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ResultsError(f"{path}: not a readable results file ({reason}); delete it and run again") from None
    if provenance.get("format") != FORMAT:
        raise ResultsError(
            f"{path}: results format {provenance.get('format')}, this pagbench reads {FORMAT}; run again or upgrade"
        )
    return Result(table.to_pandas(), provenance)


def read_all(folder: Path, benchmark: Benchmark) -> list[Result]:
    """Reads every entrant's results on a benchmark, complete or not, merged with parts of unfinished runs.

    Raises:
        ResultsError: there are none, or a file is of another definition of the benchmark, or its rows are not its
            samples.
    """
    home = folder / benchmark.label
    found = [store.load() for store in _stores(home, benchmark)]
    results = [result for result in found if result is not None]
    if not results:
        there = sorted(path.name for path in folder.glob("*@*")) if folder.is_dir() else []
        hint = f"it has {', '.join(there)}" if there else "it has none"
        raise ResultsError(
            f"{folder}: no results of {benchmark.label} ({hint}); run `pagbench run --benchmark {benchmark.name}`"
        )
    for result in results:
        _check(result, benchmark, home)
    return results


def _stores(home: Path, benchmark: Benchmark) -> Iterator["Store"]:
    files = {path.with_suffix("") for path in home.rglob("*.parquet") if path.parent.suffix != ".parts"}
    parts = {path.with_suffix("") for path in home.rglob("*.parts")}
    for stem in sorted(files | parts):
        yield Store(stem.with_name(f"{stem.name}.parquet"), benchmark)


def _check(result: Result, benchmark: Benchmark, home: Path) -> None:
    name = result.provenance["card"]["id"]
    if result.provenance["benchmark_digest"] != benchmark.digest():
        raise ResultsError(
            f"{home / name}.parquet: measured on another definition of {benchmark.label} "
            f"({result.provenance['benchmark_digest'][:12]}…, this is {benchmark.digest()[:12]}…); use --overwrite"
        )
    ids = result.rows["sample_id"]
    if ids.duplicated().any() or not set(ids) <= set(benchmark.samples):
        raise ResultsError(
            f"{home / name}.parquet: rows are duplicated or not of {benchmark.label}; run again with --overwrite"
        )


class Store:
    """The rows of one entrant: a merged file, and parts that an unfinished run has left.

    Every part is written whole, so that a killed run loses at most the batch it was working on.
    """

    def __init__(self, path: Path, benchmark: Benchmark) -> None:
        self._path = path
        self._parts = path.with_suffix(".parts")
        self._benchmark = benchmark
        self._schema = columns.schema(benchmark)

    def load(self) -> Result | None:
        """Rows of the merged file and of all parts that belong to it, in the benchmark's order; None if there are none.

        Raises:
            ResultsError: the merged file cannot be read.
        """
        found = [read(self._path)] if self._path.exists() else []
        found += [read(path) for path in sorted(self._parts.glob("*.parquet"))]
        if not found:
            return None
        first = found[0]
        rows = pd.concat([result.rows for result in found if result.same_as(first.provenance)], ignore_index=True)
        return Result(self._ordered(rows), first.provenance)

    def _ordered(self, rows: pd.DataFrame) -> pd.DataFrame:
        place = {name: index for index, name in enumerate(self._benchmark.samples)}
        rows = rows.drop_duplicates("sample_id") if self._parts.exists() else rows
        return rows.sort_values("sample_id", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)

    def clear(self) -> None:
        """Forgets everything about the entrant."""
        self._path.unlink(missing_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)

    def add(self, result: Result) -> None:
        """Keeps a finished batch as a part."""
        write(self._parts / f"{result.rows['sample_id'].iloc[0]}.parquet", result, self._schema)

    def merge(self, result: Result) -> None:
        """Writes all rows as one file and drops the parts."""
        write(self._path, Result(self._ordered(result.rows), result.provenance), self._schema)
        shutil.rmtree(self._parts, ignore_errors=True)
