"""The rows of one entrant while they are measured: a merged file, and the parts of unfinished runs."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.results.files import read, write
from pagbench.results.result import Result

PARTS = ".parts"


class Store:
    """The rows of one entrant: a merged file, and parts that an unfinished run has left.

    Every part is written whole, so that a killed run loses at most the batch it was working on. Parts lie in a hidden
    folder, whose name no entrant can have.

    Args:
        path: the merged file.
        benchmark: fixes schema and order.
        measure: the optional measure whose rows they are; None for the benchmark's own measures.
    """

    def __init__(self, path: Path, benchmark: Benchmark, measure: str | None = None) -> None:
        self._path = path
        self._parts = path.with_name(f".{path.name}{PARTS}")
        self._benchmark = benchmark
        self._schema = columns.schema(benchmark, measure)

    def load(self) -> Result | None:
        """Rows of the merged file and of all parts that belong to it, in the benchmark's order; None if there are none.

        Raises:
            ResultsError: a file cannot be read.
        """
        try:
            return self._joined([self._path, *self._part_files()])
        except FileNotFoundError:  # another run has merged the parts meanwhile
            return self._joined([self._path])

    def load_parts(self) -> Result | None:
        """Rows of the parts alone."""
        return self._joined(self._part_files())

    def _part_files(self) -> list[Path]:
        return sorted(self._parts.glob("*.parquet"))

    def _joined(self, paths: Sequence[Path]) -> Result | None:
        found = [read(path, self._schema) for path in paths if path != self._path or path.exists()]
        if not found:
            return None
        same = [result for result in found if result.same_as(found[0].provenance)]
        rows = pd.concat([result.rows for result in same], ignore_index=True)
        if len(same) > 1:
            rows = rows.drop_duplicates("sample_id")
        place = {name: index for index, name in enumerate(self._benchmark.samples)}
        rows = rows.sort_values("sample_id", key=lambda ids: ids.map(place), kind="stable", ignore_index=True)
        return Result(rows, {**found[0].provenance, "runs": _runs(same)})

    def drop_parts(self) -> None:
        """Forgets what an unfinished run has left."""
        shutil.rmtree(self._parts, ignore_errors=True)

    def add(self, result: Result) -> None:
        """Keeps a finished batch as a part."""
        write(self._parts / f"{result.rows['sample_id'].iloc[0]}.parquet", result, self._schema)

    def merge(self, result: Result) -> None:
        """Writes all rows as one file, in place of an older one, and drops the parts that are in it."""
        parts = self._part_files()
        write(self._path, result, self._schema)
        for path in parts:
            path.unlink(missing_ok=True)
        if self._parts.exists() and not any(self._parts.iterdir()):
            self._parts.rmdir()


def _runs(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Which run measured how many rows: rows of one file may come from several."""
    counted: dict[str, dict[str, Any]] = {}
    for result in found:
        own = {key: result.provenance.get(key) for key in ("started", "command", "versions", "commit", "device")}
        for run in result.provenance.get("runs", [{**own, "rows": len(result.rows)}]):
            key = json.dumps({name: value for name, value in run.items() if name != "rows"}, sort_keys=True)
            counted.setdefault(key, {**run, "rows": 0})["rows"] += run["rows"]
    return list(counted.values())
