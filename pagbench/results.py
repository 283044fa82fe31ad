"""Results on disk: one Parquet file per benchmark and entrant, one row per sample, provenance inside."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pagbench import columns, verification
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import ResultsError, first_line
from pagbench.preflight import Preflight
from pagbench.verification import Verification

FORMAT = 2
"""1: doubles. 2: floats."""

FLOAT_BITS = 24
"""Significant bits of a float32."""

_BROTLI_LEVEL = 9
_KEY = b"pagbench"
_FEW_VALUES = 50
_IDENTITY = ("format", "revision", "benchmark_digest", "weights_sha256", "behaviour", "seed")
_FINGERPRINT_TOLERANCE = 1e-3


class Provenance(BaseModel):
    """What a results file must say of itself; see `pagbench.provenance.gather` for all that it does say."""

    model_config = ConfigDict(extra="allow")

    format: int
    revision: int
    benchmark_digest: str
    card: ModelCard
    behaviour: str
    weights_sha256: str
    seed: int
    fingerprint: list[float]
    preflight: Preflight | None = None


@dataclass(frozen=True)
class Result:
    """Rows of one entrant on one benchmark, and where they come from.

    Attributes:
        rows: one row per sample, columns of `pagbench.columns.schema`; null (NaN) means not scored.
        provenance: format, benchmark, benchmark_digest, card, behaviour, weights_sha256, seed, command, versions,
            device, ...
        verification: what a rerun of some of the rows has found; None where there was none of this very file.
        path: the merged file that they were read from, or will be in; None for rows that were just measured.
    """

    rows: pd.DataFrame
    provenance: Mapping[str, Any]
    verification: Verification | None = None
    path: Path | None = None

    @property
    def preflight(self) -> Preflight | None:
        """The entrant's pre-flight card; None in results that were measured without one."""
        kept = self.provenance.get("preflight")
        return None if kept is None else Preflight.model_validate(kept)

    def same_as(self, provenance: Mapping[str, Any]) -> bool:
        """Whether rows measured under the other provenance would be these rows."""
        return not self.difference(provenance)

    def difference(self, provenance: Mapping[str, Any]) -> str:
        """Names what differs, with both values shortened; empty where nothing does.

        Outputs on probe images are compared too, within rounding: code and attributes that no hash sees change them.
        So are the weights behind the benchmark's targets, where both know them.
        """
        found = [
            f"{key} {str(self.provenance[key])[:12]} instead of {str(provenance[key])[:12]}"
            for key in _IDENTITY
            if self.provenance[key] != provenance[key]
        ]
        ours, theirs = _target_weights(self.provenance), _target_weights(provenance)
        found += [
            f"{part} weights {ours[part][:12]} instead of {theirs[part][:12]}"
            for part in sorted(set(ours) & set(theirs))
            if ours[part] != theirs[part]
        ]
        here, there = np.array(self.provenance["fingerprint"]), np.array(provenance["fingerprint"])
        scale = max(1e-6, float(np.abs(there).max(initial=0)))
        if here.shape != there.shape or not np.abs(here - there).max(initial=0) <= _FINGERPRINT_TOLERANCE * scale:
            found.append("other outputs on the probe images")
        return ", ".join(found)


def _target_weights(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Hash of each network behind a benchmark's targets, by its part: score, manifold, second, paper."""
    parts = provenance.get("networks", {}).items()
    return {part: record["weights_sha256"] for part, record in parts if "weights_sha256" in record}


def _check_comparable(found: Sequence[Result]) -> None:
    """Refuses entrants that were measured against different networks, as against autoencoders of two machines."""
    seen: dict[str, tuple[str, str]] = {}
    for result in found:
        name = result.provenance["card"]["id"]
        for part, digest in _target_weights(result.provenance).items():
            other, expected = seen.setdefault(part, (name, digest))
            if digest != expected:
                raise ResultsError(
                    f"{name}: its {part} has weights {digest[:12]}, that of {other} {expected[:12]}, and their numbers "
                    "are not comparable; measure one of them again with --overwrite"
                )


def joined(found: Sequence[Result]) -> pd.DataFrame:
    """Rows of several entrants; in `.attrs`, by entrant, their pre-flight cards, verifications and licences.

    Raises:
        ResultsError: they were measured against different networks.
    """
    _check_comparable(found)
    rows = pd.concat([result.rows for result in found], ignore_index=True) if found else pd.DataFrame()
    cards = {result.provenance["card"]["id"]: result.provenance.get("preflight") for result in found}
    licences = {result.provenance["card"]["id"]: result.provenance["card"].get("license") for result in found}
    rows.attrs["preflight"] = {name: card for name, card in cards.items() if card is not None}
    verified = {result.provenance["card"]["id"]: result.verification for result in found}
    rows.attrs["verifications"] = {name: v.model_dump(mode="json") for name, v in verified.items() if v is not None}
    declared = {result.provenance["card"]["id"]: result.provenance["card"].get("trained_on_target") for result in found}
    rows.attrs["trained_on_target"] = {name: value for name, value in declared.items() if value is not None}
    rows.attrs["licenses"] = {name: licence for name, licence in licences.items() if licence is not None}
    return rows


def path_of(folder: Path, benchmark: Benchmark, entrant: str, measure: str | None = None) -> Path:
    """`<folder>/<name>@<version>/<entrant>.parquet`; an id cannot leave the folder (`pagbench.cards.Identifier`).

    An optional measure's rows lie beside, in `<name>@<version>+<measure>`.
    """
    return _home(folder, benchmark, measure) / f"{entrant}.parquet"


def _home(folder: Path, benchmark: Benchmark, measure: str | None) -> Path:
    return folder / (benchmark.label if measure is None else f"{benchmark.label}+{measure}")


PUBLISHED = Path(__file__).parent.parent / "leaderboard" / "results"
"""Results of the published leaderboard; in a checkout only."""


def has_results(folder: Path, benchmark: Benchmark) -> bool:
    """Whether a folder has anything of a benchmark."""
    return any(_places(folder / benchmark.label))


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


def write(path: Path, result: Result, schema: pa.Schema, *, bits: int = FLOAT_BITS) -> None:
    """Writes a file beside its place, then renames: readers see the old file or the new one, never half of one.

    Args:
        path: the file.
        result: rows and provenance.
        schema: of the rows.
        bits: significant bits of measured values, 24 for all that a float has.

    Raises:
        ResultsError: the disk refuses.
    """
    measured = [field.name for field in schema if field.type == pa.float32()]
    rounded = {name: significant(result.rows[name].to_numpy(np.float32), bits) for name in measured}
    table = pa.Table.from_pandas(result.rows.assign(**rounded), schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(None)
    content = json.dumps(dict(result.provenance), sort_keys=True)
    varying = [name for name in measured if len(np.unique(rounded[name])) > _FEW_VALUES]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(
            temporary,
            table.schema,
            compression="brotli",
            compression_level=_BROTLI_LEVEL,
            store_schema=False,  # it would hold the provenance a second time
            write_statistics=False,
            use_dictionary=[name for name in schema.names if name not in varying],
            column_encoding=dict.fromkeys(varying, "BYTE_STREAM_SPLIT"),
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({_KEY: content})
        temporary.replace(path)
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write results ({error.strerror or error}); finished parts are kept"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def significant(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Values rounded to so many significant bits, which compress better than noise does.

    >>> float(significant(np.float32([0.1234567]), 13)[0])
    0.1234588623046875
    """
    if bits >= FLOAT_BITS:
        return values
    whole = np.ascontiguousarray(values).view(np.uint32)
    dropped = FLOAT_BITS - bits
    kept = (whole + np.uint32(1 << (dropped - 1))) & ~np.uint32((1 << dropped) - 1)
    return np.where(np.isfinite(values), kept.view(np.float32), values)


def read(path: Path, schema: pa.Schema) -> Result:
    """Reads one results file.

    Raises:
        ResultsError: it is not a results file of this format and schema.
        FileNotFoundError: it has vanished.
        MemoryError: there is no room for it.
    """
    try:
        table = pq.read_table(path)
        content = json.loads((table.schema.metadata or {})[_KEY])
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise ResultsError(
                f"{path}: results format {content.get('format')}, this pagbench reads {FORMAT}; run again or upgrade"
            )
        Provenance.model_validate(content)
    except (FileNotFoundError, MemoryError):
        raise
    except KeyError:
        raise ResultsError(
            f"{path}: a Parquet file without pagbench's provenance; move it out of the results folder"
        ) from None
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path}: not a readable results file ({first_line(error)}); delete it and run again"
        ) from None
    if not table.schema.equals(schema):
        odd = sorted(set(table.schema.names) ^ set(schema.names)) or ["of other types"]
        raise ResultsError(f"{path}: columns {', '.join(odd)} do not fit the benchmark; run again with --overwrite")
    rows = table.to_pandas()
    measured = [field.name for field in schema if field.type == pa.float32()]
    return Result(rows.astype(dict.fromkeys(measured, np.float64)), content)


def read_all(folder: Path, benchmark: Benchmark) -> list[Result]:
    """Reads every entrant's results on a benchmark, complete or not, merged with parts of unfinished runs.

    Columns of optional measures are added to the rows of the entrants that have them. Where a folder `submissions` lies
    beside, as in the published leaderboard, the results of its entrants on this benchmark are read too.

    Raises:
        ResultsError: there are none, or a file is of another definition of the benchmark, or its rows are not its
            samples, or an optional measure's rows are of another network.
    """
    homes = [folder, *_submitted(folder, benchmark)]
    results = [result for home in homes for result in _read_home(home, benchmark, None)]
    _check_distinct(results)
    for measure in columns.OPTIONAL:
        found = {
            result.provenance["card"]["id"]: result for home in homes for result in _read_home(home, benchmark, measure)
        }
        for index, result in enumerate(results):
            other = found.get(result.provenance["card"]["id"])
            results[index] = result if other is None else with_measure(result, other, benchmark, measure)
    if not results:
        there = sorted(path.name for path in folder.glob("*@*")) if folder.is_dir() else []
        hint = f"it has {', '.join(there)}" if there else "it has none"
        raise ResultsError(
            f"{folder}: no results of {benchmark.label} ({hint}); run `pagbench run --benchmark {benchmark.name}`"
        )
    return results


def _submitted(folder: Path, benchmark: Benchmark) -> list[Path]:
    """Results folders of the submissions to a benchmark: `submissions/<name>@<version>/<entrant>/results` beside it."""
    beside = folder.absolute().parent / "submissions" / benchmark.label
    return sorted(card.parent / "results" for card in beside.rglob("model.yaml"))


def _check_distinct(found: Sequence[Result]) -> None:
    ids = Counter(result.provenance["card"]["id"] for result in found)
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise ResultsError(f"{twice[0]}: results of it are both published and submitted; keep one of them")


def _read_home(folder: Path, benchmark: Benchmark, measure: str | None) -> list[Result]:
    home = _home(folder, benchmark, measure)
    found = []
    for path in _places(home):
        result = Store(path, benchmark, measure).load()
        if result is not None:
            _check(result, benchmark, path, home)
            found.append(replace(result, verification=_verification(result, benchmark, path), path=path))
    return found


def _verification(result: Result, benchmark: Benchmark, path: Path) -> Verification | None:
    """The record beside a merged file; parts of an unfinished run have none."""
    if not path.exists():
        return None
    weights: str = result.provenance["weights_sha256"]
    return verification.of(path, benchmark.label, result.provenance["card"]["id"], weights)


def with_measure(result: Result, other: Result, benchmark: Benchmark, measure: str) -> Result:
    """An entrant's results with the columns of an optional measure's; NaN where these lack a sample.

    Raises:
        ResultsError: they are of another network, or of another seed.
    """
    difference = result.difference(other.provenance)
    if difference:
        name = result.provenance["card"]["id"]
        raise ResultsError(
            f"{name}: its rows and those of {measure} are not of the same run ({difference}); run again with "
            f"--measures {measure} --overwrite"
        )
    names = [column.name for column in columns.sample_columns(benchmark, [measure])]
    added = other.rows[["entrant", "sample_id", *names]]
    return replace(result, rows=result.rows.merge(added, on=["entrant", "sample_id"], how="left"))


def _places(home: Path) -> list[Path]:
    """Where the merged file of every entrant is, or will be."""
    merged = [path for path in home.rglob("*.parquet") if not path.parent.name.startswith(".")]
    unfinished = [path.with_name(path.name[1:].removesuffix(_PARTS)) for path in home.rglob(f".*{_PARTS}")]
    return sorted({*merged, *unfinished})


def _check(result: Result, benchmark: Benchmark, path: Path, home: Path) -> None:
    """One entrant's rows, of this definition of the benchmark, in the place of that entrant."""
    rows, card, seed = result.rows, result.provenance["card"], result.provenance["seed"]
    if result.provenance["benchmark_digest"] != benchmark.digest():
        raise ResultsError(
            f"{path}: measured on another definition of {benchmark.label} "
            f"({result.provenance['benchmark_digest'][:12]}…, this is {benchmark.digest()[:12]}…); use --overwrite"
        )
    if result.provenance["revision"] != columns.REVISION:
        raise ResultsError(
            f"{path}: measured by revision {result.provenance['revision']} of the measures, this is "
            f"{columns.REVISION}; run again with --overwrite"
        )
    place = path.relative_to(home).with_suffix("").as_posix()
    said = {card["id"], *rows["entrant"]}
    if said != {place} or set(rows["seed"]) != {seed} or set(rows["control"]) != {card["loader"] == "control"}:
        raise ResultsError(f"{path}: holds rows of {', '.join(sorted(said))}; move it out of the results folder")
    ids = rows["sample_id"]
    if ids.duplicated().any() or not set(ids) <= set(benchmark.samples):
        raise ResultsError(f"{path}: rows are duplicated or not of {benchmark.label}; run again with --overwrite")


_PARTS = ".parts"


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
        self._parts = path.with_name(f".{path.name}{_PARTS}")
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
