"""A results folder: where each model's file lies."""

import uuid
from pathlib import Path

from pagbench.benchmarks import Benchmark
from pagbench.errors import ResultsError, first_line
from pagbench.results.store import PARTS, Store
from pagbench.storage.paths import StoragePath

PUBLISHED = Path(__file__).parent.parent.parent / "leaderboard" / "results"
"""Results of the published leaderboard; in a checkout only."""


def path_of(folder: Path, benchmark: Benchmark, model: str, measure: str | None = None) -> Path:
    """`<folder>/<name>@<version>/<model>.parquet`; an id cannot leave the folder (`pagbench.cards.Identifier`).

    An optional measure's rows lie beside, in `<name>@<version>+<measure>`.
    """
    return home_of(folder, benchmark, measure) / f"{model}.parquet"


def store_of(folder: str | Path | StoragePath, benchmark: Benchmark, model: str, measure: str | None = None) -> Store:
    """Where a run keeps the rows of a model, below a folder on a disk or behind a URL."""
    return Store(StoragePath.parse(folder) / _home(benchmark, measure) / f"{model}.parquet", benchmark, measure)


def home_of(folder: Path, benchmark: Benchmark, measure: str | None = None) -> Path:
    """The part of the folder that has the rows of a benchmark, or those of an optional measure."""
    return folder / _home(benchmark, measure)


def _home(benchmark: Benchmark, measure: str | None) -> str:
    return benchmark.label if measure is None else f"{benchmark.label}+{measure}"


def has_results(folder: Path, benchmark: Benchmark) -> bool:
    """Whether a folder has anything of a benchmark."""
    return any(places(folder / benchmark.label))


def check_writable(folder: str | Path | StoragePath) -> None:
    """Tries to write into the folder.

    Raises:
        ResultsError: it is a file, or not writable, or its URL leads nowhere.
    """
    place = StoragePath.parse(folder)
    probe = place / f".writable-{uuid.uuid4().hex}"
    try:
        probe.write(b"")
        probe.remove()
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot write results there ({error.strerror or first_line(error)}); give another --results "
            "folder"
        ) from None


def submitted(folder: Path, benchmark: Benchmark) -> list[Path]:
    """Results folders of the submissions to a benchmark: `submissions/<name>@<version>/<model>/results` beside it."""
    beside = folder.absolute().parent / "submissions" / benchmark.label
    return sorted(card.parent / "results" for card in beside.rglob("model.yaml"))


def places(home: Path) -> list[Path]:
    """Where the merged file of every model is, or will be."""
    merged = [path for path in home.rglob("*.parquet") if not path.parent.name.startswith(".")]
    unfinished = [path.with_name(path.name[1:].removesuffix(PARTS)) for path in home.rglob(f".*{PARTS}")]
    return sorted({*merged, *unfinished})


def model_at(path: Path, home: Path) -> str:
    """The id of the model whose file a path is, or would be, in a benchmark's part of the folder."""
    return path.relative_to(home).with_suffix("").as_posix()
