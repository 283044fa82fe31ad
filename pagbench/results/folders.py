"""A results folder: where each entrant's file lies, and all of them read, checked and joined."""

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from pagbench import cache, columns, verification
from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError, first_line
from pagbench.results.places import Place, is_url
from pagbench.results.result import Result, target_weights
from pagbench.results.store import PARTS, Store
from pagbench.verification import Verification

PUBLISHED = Path(__file__).parent.parent.parent / "leaderboard" / "results"
"""Results of the published leaderboard; in a checkout only."""


def path_of(folder: Path, benchmark: Benchmark, entrant: str, measure: str | None = None) -> Path:
    """`<folder>/<name>@<version>/<entrant>.parquet`; an id cannot leave the folder (`pagbench.cards.Identifier`).

    An optional measure's rows lie beside, in `<name>@<version>+<measure>`.
    """
    return folder / _home(benchmark, measure) / f"{entrant}.parquet"


def store_of(folder: str | Path | Place, benchmark: Benchmark, entrant: str, measure: str | None = None) -> Store:
    """Where a run keeps the rows of an entrant, below a folder on a disk or behind a URL."""
    return Store(Place.of(folder) / _home(benchmark, measure) / f"{entrant}.parquet", benchmark, measure)


def _home(benchmark: Benchmark, measure: str | None) -> str:
    return benchmark.label if measure is None else f"{benchmark.label}+{measure}"


def has_results(folder: Path, benchmark: Benchmark) -> bool:
    """Whether a folder has anything of a benchmark."""
    return any(_places(folder / benchmark.label))


def check_writable(folder: str | Path | Place) -> None:
    """Tries to write into the folder.

    Raises:
        ResultsError: it is a file, or not writable, or its URL leads nowhere.
    """
    place = Place.of(folder)
    probe = place / f".writable-{uuid.uuid4().hex}"
    try:
        probe.write(b"")
        probe.remove()
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot write results there ({error.strerror or first_line(error)}); give another --results "
            "folder"
        ) from None


def local(folder: str | Path) -> Path:
    """The folder itself, or of one behind a URL a copy in the cache, with what has changed since the last.

    Raises:
        ResultsError: the URL leads nowhere.
    """
    if not is_url(folder):
        return Path(folder)
    there, name = Place.of(folder), hashlib.sha256(str(folder).rstrip("/").encode()).hexdigest()[:16]
    copy = cache.root() / "results" / name
    try:
        wanted = {copy / PurePosixPath(place.path).relative_to(there.path) for place in _copied(there, copy)}
        for path in [path for path in copy.rglob("*") if path.is_file() and path not in wanted]:
            path.unlink()
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read ({first_line(error)}); check the URL") from None
    return copy


def _copied(there: Place, copy: Path) -> Iterator[Place]:
    """Every file there, after it was copied unless the copy is of the same size and not older."""
    for place in there.children(deep=True):
        path = copy / PurePosixPath(place.path).relative_to(there.path)
        info = place.files.get_file_info(place.path)
        if not (path.exists() and path.stat().st_size == info.size and path.stat().st_mtime_ns == info.mtime_ns):
            Place.of(path).write(place.read())
            if info.mtime_ns is not None:
                os.utime(path, ns=(info.mtime_ns, info.mtime_ns))
        yield place


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
    home = folder / _home(benchmark, measure)
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
    unfinished = [path.with_name(path.name[1:].removesuffix(PARTS)) for path in home.rglob(f".*{PARTS}")]
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


def _check_comparable(found: Sequence[Result]) -> None:
    """Refuses entrants that were measured against different networks, as against autoencoders of two machines."""
    seen: dict[str, tuple[str, str]] = {}
    for result in found:
        name = result.provenance["card"]["id"]
        for part, digest in target_weights(result.provenance).items():
            other, expected = seen.setdefault(part, (name, digest))
            if digest != expected:
                raise ResultsError(
                    f"{name}: its {part} has weights {digest[:12]}, that of {other} {expected[:12]}, and their numbers "
                    "are not comparable; measure one of them again with --overwrite"
                )
