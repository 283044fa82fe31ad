"""The folder of a submission: its card, its files, and their limits. Links are never followed. No torch."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pagbench import benchmarks, columns
from pagbench.benchmarks import Benchmark
from pagbench.cards import ModelCard
from pagbench.cards.plain_yaml import LARGEST_YAML
from pagbench.errors import CardError, UnknownNameError
from pagbench.results import folders, verification
from pagbench.results.store import SHARDS
from pagbench.storage import downloads
from pagbench.storage.files import sha256_of
from pagbench.submissions.findings import Finding

CARD, REPORT = folders.CARD, folders.REPORT
RESULTS = "results"
WEIGHTS_SUFFIX = ".safetensors"
"""The only kind of weights: a format that can hold nothing but tensors."""
FILES = 64
WEIGHTS_BESIDE = 8 * 2**20
"""Bytes of weights in the folder itself, which a pull request adds to the repository; larger ones go behind a link."""
WEIGHTS_LINKED = 4 * 2**30
RESULTS_BYTES = 16 * 2**20
"""Of one results file."""
GRAPH_BYTES = 4 * 2**20
"""Of a graph, and of its probes as many again."""
TENSORS = 20_000
PARAMETERS = 1_000_000_000


def read_card(root: Path) -> ModelCard:
    """The card of a submission.

    Raises:
        CardError: it is missing, not plain YAML, or a field is wrong.
    """
    path = root / CARD
    return ModelCard.read(path)


def benchmark_of(card: ModelCard, name: str | None) -> Benchmark:
    """The benchmark that is named, or that of the card's data set.

    Raises:
        CardError: the card names no data set, or one that no benchmark has.
    """
    if name is not None:
        return benchmarks.load(name)
    try:
        return benchmarks.load(card.dataset or "")
    except UnknownNameError as error:
        raise CardError(f"field 'dataset': {error}; or name the benchmark with --benchmark") from None


def home_of(leaderboard: Path, benchmark: Benchmark, card: ModelCard) -> Path:
    """Where a submission lies in a leaderboard: `<leaderboard>/submissions/<name>@<version>/<id>`."""
    return leaderboard / "submissions" / benchmark.label / card.id


def weights_path(card: ModelCard, root: Path) -> Path:
    """The file of a submission's weights: beside the card, or in the cache where it is behind a link."""
    return root / card.weights if card.weights else downloads.path_of((card.download or ())[0])


def pinned_sha256(card: ModelCard) -> str | None:
    """The sha256 of the weights that a card names, or its link is pinned to; None where there is none."""
    pinned = card.download[0].sha256 if card.download is not None and len(card.download) == 1 else None
    return pinned or card.weights_sha256


def weights_sha256(card: ModelCard, root: Path) -> str | None:
    """Sha256 of a model's weights: of the file beside its card, else as the card says.

    None where there is no file and no hash; a rerun compares what it has loaded.
    """
    if card.weights is not None and (root / card.weights).is_file():
        return sha256_of(root / card.weights)
    return pinned_sha256(card)


def has_weights(card: ModelCard, root: Path) -> bool:
    """Whether a submission's weights are in its folder or behind a link; only those under embargo may be missing."""
    return not card.embargo or (card.weights is not None and (root / card.weights).is_file())


def graph_files(card: ModelCard) -> list[str]:
    """The files beside the card of a network that brings its graph: the graph and its probes; none for others."""
    return [name for name in (card.graph, card.probes) if name is not None]


def known_files(card: ModelCard) -> dict[str, int]:
    """Paths that a submission with this card may have, and how many bytes each may have at most."""
    weights = {card.weights: WEIGHTS_LINKED if card.embargo else WEIGHTS_BESIDE} if card.weights else {}
    graph = dict.fromkeys(graph_files(card), GRAPH_BYTES)
    return {CARD: LARGEST_YAML} | weights | graph | results_files(card.id)


def results_files(model: str) -> dict[str, int]:
    """Paths that results of a model may have in a submission, and how many bytes each may have at most."""
    labels = [
        label if measure is None else f"{label}+{measure}"
        for label in benchmarks.names()
        for measure in (None, *columns.OPTIONAL)
    ]
    return {f"{RESULTS}/{label}/{model}.parquet": RESULTS_BYTES for label in labels}


def check_files(root: Path, first: str = CARD) -> Iterator[Finding]:
    """What is wrong with the kinds and the number of the files; nothing is opened, and no link is followed.

    Args:
        root: the submission's folder.
        first: the file that says what the others are: the card, or the report.
    """
    if root.is_symlink() or not root.is_dir():
        yield Finding("error", str(root), "not a folder; give the folder that `pagbench submit` wrote")
        return
    if not (root / first).exists():
        command = "init" if first == CARD else "results"
        yield Finding("error", first, f"there is none in {root}; write one with `pagbench submit {command}`")
    for number, (name, status) in enumerate(_walk(root, root, first), start=1):
        if number > FILES:
            yield Finding("error", str(root), f"more than {FILES} files and folders; keep what is submitted")
            return
        if stat.S_ISLNK(status.st_mode):
            yield Finding("error", name, "a symbolic link; put the file itself there")
        elif not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            yield Finding("error", name, "a device, pipe or socket; a submission has only files")
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            yield Finding("error", name, "a hard link to another file; copy it")


def check_names(root: Path, card: ModelCard) -> Iterator[Finding]:
    """Files that a submission with this card has no use for, or that are too large for it, or that it lacks."""
    unlinked = {card.weights: "; put it behind a link (download)"} if card.weights and not card.embargo else {}
    yield from check_sizes(root, known_files(card), unlinked)
    named = [card.weights] if card.weights and not card.embargo else []
    for name in [*named, *graph_files(card)]:
        if not (root / name).is_file():
            what = "put the file beside the card"
            if name == card.probes:
                what = "images, outputs and gradients that show which network the graph is; `pagbench export` writes it"
            yield Finding("error", name, f"the card names it, and it is not here; {what}")


def check_sizes(root: Path, known: Mapping[str, int], advice: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Files that a submission has no use for, or that are too large.

    Args:
        root: its folder.
        known: which files it may have, and the most bytes of each.
        advice: what to do where one is too large.
    """
    for name, status in _walk(root, root, CARD if CARD in known else REPORT):
        if stat.S_ISDIR(status.st_mode):
            if name.endswith(SHARDS):
                yield Finding("error", name, "left by an unfinished run; finish it with `pagbench submit run`")
        elif name.endswith(verification.SUFFIX) and verification.results_file_of(name) in known:
            message = "the record of a rerun: a maintainer writes it, leave it out of a submission"
            yield Finding("warning", name, message)
        elif name not in known:
            if f"{SHARDS}/" not in name:  # said of the folder
                expected = "card, weights and results" if CARD in known else "a report and results"
                yield Finding("error", name, f"not a file of a submission; expected {expected}; remove it")
        elif status.st_size > known[name]:
            more = (advice or {}).get(name, "")
            yield Finding("error", name, f"{status.st_size} bytes, at most {known[name]} are taken{more}")


def _walk(root: Path, folder: Path, first: str) -> Iterator[tuple[str, os.stat_result]]:
    """Path below the root, and kind and size, of everything in a folder and below, without following a link.

    Below a report others may lie, for an id may be the beginning of another; they are submissions of their own.
    """
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        status = entry.stat(follow_symlinks=False)
        yield Path(entry.path).relative_to(root).as_posix(), status
        if stat.S_ISDIR(status.st_mode) and not (first == REPORT and (Path(entry.path) / REPORT).exists()):
            yield from _walk(root, Path(entry.path), first)
