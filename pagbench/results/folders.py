"""A results folder: where the file of each model lies, and all of them read, checked and joined."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pagbench import columns
from pagbench.benchmarks import Benchmark
from pagbench.errors import PagbenchError, ResultsError, first_line, printable
from pagbench.results import verification
from pagbench.results.agreement import Claims, odd_ones, voice_of
from pagbench.results.contradictions import contradictions
from pagbench.results.files import Result
from pagbench.results.store import SHARDS, Store, labels_of, positions
from pagbench.storage import cache
from pagbench.storage.files import at_home, sha256_of
from pagbench.storage.paths import LARGEST, StoragePath, is_url

PUBLISHED = Path(__file__).parent.parent.parent / "leaderboard" / "results"
"""Results of the published leaderboard; in a checkout only."""
CARD, REPORT = "model.yaml", "report.yaml"
"""What a submission's folder begins with: the card of a network of one's own, or who reports on one that is known."""
_THREADS = min(4, os.cpu_count() or 1)
"""Models that are read at a time. Decoding and products do without Python's lock; a product keeps to one thread, for
several that share their threads wait for each other."""
Value = TypeVar("Value")
OnWarning = Callable[[str], object]


class NoResultsError(ResultsError):
    """A folder that has no results of a benchmark, or none that can be used."""


def path_of(folder: Path, benchmark: Benchmark, model: str, measure: str | None = None) -> Path:
    """`<folder>/<name>@<version>/<model>.parquet`; an id cannot leave the folder (`pagbench.cards.Identifier`).

    An optional measure's rows lie beside, in `<name>@<version>+<measure>`.
    """
    return file_of(folder, _label(benchmark, measure), model)


def file_of(folder: Path, label: str, model: str) -> Path:
    """As `path_of`, by the benchmark's label: no definition has to be read."""
    return folder / label / f"{model}.parquet"


def store_of(folder: str | Path | StoragePath, benchmark: Benchmark, model: str, measure: str | None = None) -> Store:
    """Where a run keeps the rows of a model, below a folder on a disk or behind a URL."""
    return Store(StoragePath.parse(folder) / _label(benchmark, measure) / f"{model}.parquet", benchmark, measure)


def _label(benchmark: Benchmark, measure: str | None) -> str:
    return benchmark.label if measure is None else f"{benchmark.label}+{measure}"


def has_results(folder: Path, benchmark: Benchmark) -> bool:
    """Whether a folder has anything of a benchmark."""
    return bool(_models(folder / benchmark.label))


def labels_in(folder: Path) -> list[str]:
    """Labels of the benchmarks that a folder has anything of."""
    return sorted(path.name for path in folder.glob("*@*") if "+" not in path.name and _models(path))


def check_writable(folder: str | Path | StoragePath) -> None:
    """Tries to write into the folder.

    Raises:
        ResultsError: it is a file, or not writable, or its URL leads nowhere.
    """
    probe = StoragePath.parse(folder) / f".writable-{uuid.uuid4().hex}"
    try:
        probe.write(b"")
        probe.remove()
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot write results there ({error.strerror or first_line(error)}); give another results "
            "folder (--results)"
        ) from None


def local(folder: str | Path) -> Path:
    """The folder itself; of one behind a URL a copy in the cache, brought up to date; `published` for the checkout's.

    Raises:
        ResultsError: the URL leads nowhere, there is no checkout, or it is a benchmark's folder within one of results.
    """
    if folder == "published":
        return published_folder(folder)
    if not is_url(folder):
        home = at_home(folder)
        if "@" in home.name and _models(home) and not labels_in(home):
            raise ResultsError(f"{folder}: the folder of one benchmark; give the one that it is in, {home.parent}")
        return home
    remote, name = StoragePath.parse(folder), hashlib.sha256(str(folder).rstrip("/").encode()).hexdigest()[:16]
    copy = cache.root() / "results" / name
    try:
        copied = set(_copied(remote, copy))
        for path in [path for path in copy.rglob("*") if path.is_file() and path not in copied]:
            path.unlink()
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read ({first_line(error)}); check the URL") from None
    return copy


def _copied(remote: StoragePath, copy: Path) -> Iterator[Path]:
    """The copy of every file; one of the same size and time is not fetched again."""
    for source in remote.children(deep=True):
        place = PurePosixPath(source.path).relative_to(remote.path)
        if ".." in place.parts:  # object stores have no folders: a name may hold anything
            continue
        path = copy / place
        info = source.files.get_file_info(source.path)
        if not (path.exists() and path.stat().st_size == info.size and path.stat().st_mtime_ns == info.mtime_ns):
            try:
                content = source.read() if info.size <= LARGEST else b""  # no results file, as its reader will say
                StoragePath.parse(path).write(content)
            except FileNotFoundError:  # a run has merged it meanwhile
                continue
            if info.mtime_ns is not None:
                os.utime(path, ns=(info.mtime_ns, info.mtime_ns))
        yield path


def published_folder(folder: str | Path, benchmark: Benchmark | None = None) -> Path:
    """The folder of published results that a user names, or its URL; `published` for that of the checkout.

    Args:
        folder: what the user names.
        benchmark: one that it must have results of.

    Raises:
        ResultsError: there is none, or it has no results of the benchmark.
    """
    found = PUBLISHED if folder == "published" else local(folder)
    if found.is_dir():
        if benchmark is not None and not has_results(found, benchmark):
            raise ResultsError(f"{folder}: no results of {benchmark.label} to rank against; give another folder")
        return found
    if folder == "published":
        raise ResultsError(
            "there are no published results here, for an installed package has none; clone pagbench's repository and "
            "give <repository>/leaderboard/results in place of published"
        )
    raise ResultsError(f"{folder}: no such folder; give one of results, as leaderboard/results of the repository")


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model's results on a benchmark.

    Attributes:
        benchmark: the definition.
        benchmark_digest: its hash.
        name: the model's id; of a file that is not where its id belongs, its path.
        path: of the benchmark's own measures; missing while only shards of it are there.
        optional: optional measures, and where their files are, if the model has them.
        submitted: whether they are of a submission, beside the published results.
        flaw: why they do not count, whatever is in them; empty where they do.
    """

    benchmark: Benchmark
    benchmark_digest: str
    name: str
    path: Path
    optional: tuple[tuple[str, Path], ...] = ()
    submitted: bool = False
    flaw: str = ""

    def read(self) -> Result | None:
        """All rows, checked, with the columns of optional measures; None where a run has just begun.

        Raises:
            ResultsError: see `map_models`.
        """
        if self.flaw:
            raise ResultsError(f"{self.path}: {self.flaw}")
        result = self._read(self.path, None)
        if result is None:
            return None
        result = replace(result, submitted=self.submitted)
        for measure, path in self.optional:
            other = self._read(path, measure)
            result = result if other is None else with_measure(result, other, self.benchmark, measure)
        return result

    def digest(self) -> str | None:
        """Hash of all bytes that `read` reads; None where there are shards, or a file cannot be read."""
        paths = [self.path, *(path for _, path in self.optional)]
        missing = self.flaw or not self.path.exists()
        if missing or any(path.with_name(f".{path.name}{SHARDS}").exists() for path in paths):
            return None
        sha256 = hashlib.sha256(f"{self.name} {self.submitted} {self.benchmark_digest}".encode())
        try:
            for measure, path in ((None, self.path), *self.optional):
                sha256.update(f" {measure} ".encode())
                for file in (path, verification.find(path)):
                    sha256.update((sha256_of(file) if file.exists() else "missing").encode())
        except OSError:
            return None
        return sha256.hexdigest()

    def _read(self, path: Path, measure: str | None) -> Result | None:
        if path.is_dir():
            raise ResultsError(f"{path}: a folder where a results file is expected; move it out of the results folder")
        result = Store(path, self.benchmark, measure).load()
        if result is None:
            return None
        self._check(result, path, measure)
        if not path.exists():  # shards have no record
            return replace(result, path=path)
        weights = result.provenance.weights_sha256
        record = verification.read(path, self.benchmark.label, self.name, weights)
        return replace(result, verification=record, path=path)

    def _check(self, result: Result, path: Path, measure: str | None) -> None:
        """Refuses rows that are not of this model, not of this definition of the benchmark, or cannot be."""
        source, benchmark = result.provenance, self.benchmark
        if source.benchmark_digest != self.benchmark_digest:
            raise ResultsError(
                f"{path}: measured on another definition of {benchmark.label} "
                f"({source.benchmark_digest[:12]}…, this is {self.benchmark_digest[:12]}…); use --overwrite"
            )
        if source.revision != columns.REVISION:
            raise ResultsError(
                f"{path}: measured by revision {source.revision} of the measures, this is "
                f"{columns.REVISION}; run again with --overwrite"
            )
        names = {source.card.id, *map(str, result.rows["entrant"].unique())}
        if names != {self.name}:
            raise ResultsError(f"{path}: holds rows of {', '.join(sorted(names))}; move it out of the results folder")
        if self.submitted and source.card.control and self.name not in benchmark.anchors:
            raise ResultsError(f"{path}: rows of a control, which nobody submits; take it out of the submissions")
        for contradiction in contradictions(result, benchmark, measure):
            raise ResultsError(f"{path}: {contradiction}")


def find_models(folder: Path, benchmark: Benchmark) -> list[ModelFiles]:
    """The files of every model on a benchmark, complete or not.

    Where a folder `submissions` lies beside, as in the published leaderboard, its models are among them: each is what
    its path says, `submissions/<benchmark>/<id>/results/<benchmark>/<id>.parquet`, and no control, anchor or published
    model. What lies elsewhere there has a flaw. An anchor may be reported, and counts once it is verified.
    """
    published, digest = _models(folder / benchmark.label), benchmark.digest()
    found = [_files(folder, benchmark, digest, name) for name in published]
    parent = folder.parent if folder.name not in ("", "..") else folder.absolute().parent
    beside = parent / "submissions" / benchmark.label
    for root in sorted({path.parent for name in (CARD, REPORT) for path in beside.rglob(name)}):
        own = root.relative_to(beside).as_posix()
        for name in _models(root / "results" / benchmark.label):
            files = replace(_files(root / "results", benchmark, digest, name), submitted=True)
            flaw = ""
            if name != own:
                flaw = f"results of {name} in the folder of {own}; a submission has none but its own"
            elif name in published:
                flaw = f"results of {name} are both published and submitted; keep one of them"
            elif name in benchmark.anchors and (root / REPORT).exists():
                flaw = "" if _is_verified(files) else f"{name} is an anchor; its results count once they are verified"
            elif name in benchmark.anchors or name.startswith("control/"):
                flaw = f"{name} is an anchor or a control; a submission has an id of its own"
            found.append(replace(files, name=str(files.path), flaw=flaw) if flaw else files)
    return found


def _is_verified(files: ModelFiles) -> bool:
    try:
        record = verification.read(files.path, files.benchmark.label, files.name, None)
    except ResultsError:
        return False
    return record is not None and record.verdict == "verified"


def _files(home: Path, benchmark: Benchmark, digest: str, name: str) -> ModelFiles:
    """The files of a model in one folder of results."""
    optional = [
        (measure, path_of(home, benchmark, name, measure))
        for measure in columns.OPTIONAL
        if (home / _label(benchmark, measure)).is_dir()
    ]
    return ModelFiles(benchmark, digest, name, path_of(home, benchmark, name), tuple(optional))


def _models(home: Path) -> list[str]:
    """Ids of the models of which a folder has a merged file or shards."""
    merged = [path for path in home.rglob("*.parquet") if not path.parent.name.startswith(".")]
    unfinished = [path.with_name(path.name[1:].removesuffix(SHARDS)) for path in home.rglob(f".*{SHARDS}")]
    return [path.relative_to(home).with_suffix("").as_posix() for path in sorted({*merged, *unfinished})]


@dataclass(frozen=True)
class _Flaw:
    """Why a model's files cannot be used, in a line."""

    line: str


def map_models(
    folder: Path,
    benchmark: Benchmark,
    use: Callable[[ModelFiles], Value | None],
    on_warning: OnWarning | None = None,
    *,
    claims: Callable[[Value], Claims] | None = None,
) -> list[Value]:
    """What `use` makes of the files of each model, but for None; it is called from a few threads at a time.

    Args:
        folder: of results.
        benchmark: the definition.
        use: takes one model's files.
        on_warning: called with a line for each model whose files are damaged, somebody else's, or contradict those of
            the others; it is left out. None to raise the first.
        claims: of a value, what all models have in common; None where they are not compared with each other.

    Raises:
        NoResultsError: there are no results, or none that can be used.
        ResultsError: a file is of another definition of the benchmark, or its rows are not its samples, or an optional
            measure's rows are of another network; or two models contradict each other, and nothing tells which is
            right.
    """

    def attempt(files: ModelFiles) -> Value | _Flaw | None:
        """A line in place of the value where the files are bad."""
        try:
            return use(files)
        except MemoryError:
            raise
        except Exception as error:  # files of anybody may hold anything
            if on_warning is None:
                raise
            known = isinstance(error, PagbenchError)
            line = str(error) if known else f"{files.path}: cannot be used ({type(error).__name__}: {error})"
            for path in (files.path, *dict(files.optional).values()):  # as the user has named their folder
                line = line.replace(str(StoragePath.parse(path).local), str(path))
            return _Flaw(line)

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(_THREADS) as pool:
        found = [value for value in pool.map(attempt, find_models(folder, benchmark)) if value is not None]
    flaws = [flaw for flaw in found if isinstance(flaw, _Flaw)]
    values = [value for value in found if not isinstance(value, _Flaw)]
    if claims is not None:
        said = {claim.name: (claim, value) for claim, value in zip(map(claims, values), values, strict=True)}
        odd = odd_ones([claim for claim, _ in said.values()])
        if odd and on_warning is None:
            raise ResultsError(next(iter(odd.values())))
        flaws += map(_Flaw, odd.values())
        values = [value for name, (_, value) in said.items() if name not in odd]
    if flaws and not values:
        more = f", and {len(flaws) - 1} more" if len(flaws) > 1 else ""
        raise NoResultsError(f"{folder}: no results of {benchmark.label} can be used: {printable(flaws[0].line)}{more}")
    if on_warning is not None:
        for flaw in flaws:
            on_warning(f"left out: {printable(flaw.line)}")
    if not values:
        others = sorted(path.name for path in folder.glob("*@*")) if folder.is_dir() else []
        hint = f"it has {', '.join(others)}" if others else "it has none"
        raise NoResultsError(
            f"{folder}: no results of {benchmark.label} ({hint}); run `pagbench run --benchmark {benchmark.label}`"
        )
    return values


def map_results(
    folder: Path, benchmark: Benchmark, use: Callable[[Result], Value], on_warning: OnWarning | None = None
) -> list[Value]:
    """What `use` makes of each model's results; only a few models' rows are in memory at a time.

    Args:
        folder: of results.
        benchmark: the definition.
        use: takes one model's results.
        on_warning: as for `map_models`.

    Raises:
        ResultsError: see `map_models`.
    """

    def used(files: ModelFiles) -> tuple[Claims, Value] | None:
        result = files.read()
        if result is None:
            return None
        labels = labels_of(result.rows, benchmark)
        voice = voice_of(submitted=files.submitted, record=result.verification)
        return Claims(result.name, voice, result.provenance.target_weights, labels), use(result)

    return [value for _, value in map_models(folder, benchmark, used, on_warning, claims=lambda pair: pair[0])]


def read_all(folder: Path, benchmark: Benchmark) -> list[Result]:
    """Every model's results on a benchmark, all rows at once.

    Raises:
        ResultsError: see `map_results`.
    """
    return map_results(folder, benchmark, lambda result: result)


def with_measure(result: Result, other: Result, benchmark: Benchmark, measure: str) -> Result:
    """A model's results with the columns of an optional measure's; NaN where these lack a sample.

    Raises:
        ResultsError: they are of another network, or of another seed.
    """
    difference = result.difference(other.provenance)
    if difference:
        raise ResultsError(
            f"{result.name}: its rows and those of {measure} are not of the same run ({difference}); run again with "
            f"--measures {measure} --overwrite"
        )
    names = [column.name for column in columns.sample_columns(benchmark, [measure])]
    values = np.full((len(benchmark.samples) + 1, len(names)), np.nan)  # the last row is that of unknown samples
    values[positions(other.rows["sample_id"], benchmark)] = other.rows[names].to_numpy(float)
    values[-1] = np.nan
    added = pd.DataFrame(values[positions(result.rows["sample_id"], benchmark)], result.rows.index, names)
    rows = pd.concat([result.rows, added], axis=1)
    generated = {**(result.document.get("made") or {}), **(other.document.get("made") or {})}
    runs = [run for part in (result, other) for run in part.document.get("runs", ())]
    shared = {name: content for name, content in (("made", generated), ("runs", runs)) if content}
    return replace(result, rows=rows, document={**result.document, **shared})
