"""Finds what can be verified: results of models, in a results folder or in submissions. No torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pagbench import benchmarks, results
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.errors import ResultsError
from pagbench.models import registry
from pagbench.submissions import checking, claims
from pagbench.submissions.folder import CARD, RESULTS


@dataclass(frozen=True)
class Claim:
    """One model's results on one benchmark.

    Attributes:
        file: the results file.
        card: of the model that it should be of.
        origin: what that model is called by: its id, or the card file of a submission.
        weights_sha256: of its weights file; None where that is known only when it is loaded.
        benchmark: what it was measured on.
        submission: the folder where it is one; None for a published model.
    """

    file: Path
    card: ModelCard
    origin: str
    weights_sha256: str | None
    benchmark: Benchmark
    submission: Path | None = None

    def __str__(self) -> str:
        """Which results they are, for one line."""
        return f"{self.card.id} on {self.benchmark.label}"


def find(target: str, folder: Path, benchmark: Benchmark | None = None) -> list[Claim]:
    """Results that are named: by a submission's folder, or by a model of a results folder.

    Args:
        target: a submission's folder, or a model's id.
        folder: the results folder.
        benchmark: only results on it; None for all.

    Raises:
        PagbenchError: there are no such results, or the model's card is not valid.
    """
    found = [claim for chosen in _chosen(benchmark) for claim in _claims(target, folder, chosen)]
    if not found:
        on = "" if benchmark is None else f" on {benchmark.label}"
        raise ResultsError(
            f"{target}: neither a submission's folder with results{on} nor a model with results{on} in {folder}; "
            "see `pagbench leaderboard`"
        )
    return found


def names(folder: Path, benchmark: Benchmark | None = None) -> list[str]:
    """Every model of a results folder, and the folder of every submission beside it."""
    found: list[str] = []
    for chosen in _chosen(benchmark):
        home = folder / chosen.label
        files = [path for path in sorted(home.rglob("*.parquet")) if not path.parent.name.startswith(".")]
        found += [path.relative_to(home).with_suffix("").as_posix() for path in files]
        found += [str(root) for root in _submitted(folder, chosen)]
    return list(dict.fromkeys(found))


def _chosen(benchmark: Benchmark | None) -> list[Benchmark]:
    return [benchmarks.load(label) for label in benchmarks.names()] if benchmark is None else [benchmark]


def _submitted(folder: Path, benchmark: Benchmark) -> list[Path]:
    """Folders of the submissions beside a results folder."""
    beside = folder.absolute().parent / "submissions" / benchmark.label
    return sorted(card.parent for card in beside.rglob(CARD))


def _claims(target: str, folder: Path, benchmark: Benchmark) -> Iterator[Claim]:
    if (Path(target) / CARD).is_file():
        yield from _of_submission(Path(target), benchmark)
        return
    path = results.path_of(folder, benchmark, target)
    if path.is_file():
        card, place = registry.find(target)
        known = None if place is None else claims.weights_sha256(card, place.parent)
        yield Claim(path, card, target, known, benchmark)
    for root in _submitted(folder, benchmark):
        yield from (claim for claim in _of_submission(root, benchmark) if claim.card.id == target)


def _of_submission(root: Path, benchmark: Benchmark) -> Iterator[Claim]:
    card = checking.read_card(root)
    path = results.path_of(root / RESULTS, benchmark, card.id)
    if path.is_file():
        yield Claim(path, card, str(root / CARD), claims.weights_sha256(card, root), benchmark, root)
