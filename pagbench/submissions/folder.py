"""The folder of a submission: plain files that have a name there, and nothing else. Links are never followed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pagbench import benchmarks, columns
from pagbench.cards import ModelCard
from pagbench.submissions import limits
from pagbench.submissions.findings import Finding

CARD = "model.yaml"
RESULTS = "results"
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth")
_CODE = (".py", ".pyc", ".ipynb", ".sh", ".so", ".pkl", ".pickle")


def known_files(card: ModelCard) -> frozenset[str]:
    """Paths that a submission with this card may have."""
    labels = [
        label if measure is None else f"{label}+{measure}"
        for label in benchmarks.names()
        for measure in (None, *columns.OPTIONAL)
    ]
    results = {f"{RESULTS}/{label}/{card.id}.parquet" for label in labels}
    return frozenset({CARD, *results} | ({card.weights} if card.weights else set()))


def look(root: Path) -> Iterator[Finding]:
    """What is wrong with the kinds, sizes and number of the files; nothing is opened."""
    if root.is_symlink() or not root.is_dir():
        yield Finding("error", str(root), "not a folder; give the folder that `pagbench submit init` wrote")
        return
    if not (root / CARD).exists():
        yield Finding("error", CARD, f"there is none in {root}; write one with `pagbench submit init {root}`")
    for number, (path, status) in enumerate(_walk(root, limits.DEPTH), start=1):
        if number > limits.FILES:
            yield Finding("error", str(root), f"more than {limits.FILES} files and folders; keep what is submitted")
            return
        name = path.relative_to(root).as_posix()
        flaw = _wrong_kind(status) or _wrong_size(name, status)
        if flaw:
            yield Finding("error", name, flaw)


def foreign(root: Path, card: ModelCard) -> Iterator[Finding]:
    """Files that a submission with this card has no use for."""
    known = known_files(card)
    records = {name.removesuffix(".parquet") + ".verified.json" for name in known if name.endswith(".parquet")}
    for path, status in _walk(root, limits.DEPTH):
        name = path.relative_to(root).as_posix()
        if stat.S_ISDIR(status.st_mode):
            if path.name.endswith(".parts"):
                yield Finding("error", name, "left by an unfinished run; finish it with `pagbench submit run`")
        elif name in records:
            yield Finding(
                "warning", name, "the record of a rerun: a maintainer writes it, leave it out of a submission"
            )
        elif name not in known and ".parts/" not in name:
            yield Finding("error", name, f"not a file of a submission; expected {CARD}, weights and results; remove it")


def _walk(folder: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below a folder, without following a link; what lies deeper than allowed is named, not entered."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        status = entry.stat(follow_symlinks=False)
        yield Path(entry.path), status
        if stat.S_ISDIR(status.st_mode) and depth > 0:
            yield from _walk(Path(entry.path), depth - 1)


def _wrong_kind(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link; put the file itself there"
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        return "a device, pipe or socket; a submission has only files"
    return "a hard link to another file; copy it" if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else None


def _wrong_size(name: str, status: os.stat_result) -> str | None:
    if stat.S_ISDIR(status.st_mode):
        return f"more than {limits.DEPTH} folders deep; remove it" if name.count("/") >= limits.DEPTH else None
    if name.endswith(_CODE):
        return "code, which a submission cannot have; name an architecture that pagbench, timm or torchvision builds"
    if status.st_size > _largest(name):
        advice = "; put it behind a link (download)" if name.endswith(WEIGHTS_SUFFIXES) else ""
        return f"{status.st_size} bytes, at most {_largest(name)} are taken{advice}"
    return None if status.st_size else "an empty file; remove it"


def _largest(name: str) -> int:
    if name == CARD:
        return limits.CARD_BYTES
    return limits.RESULTS if name.startswith(f"{RESULTS}/") else limits.WEIGHTS_BESIDE
