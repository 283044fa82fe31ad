"""Folders that runs write to: caches and temporary files, and whether anything may be fetched into them."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from pagbench.cli.diagnosis.findings import Finding, State
from pagbench.errors import first_line
from pagbench.storage import cache

_PATIENCE = 1.0
_LITTLE = 10**9
_TRIED = 1 << 20


def examine() -> tuple[Finding, ...]:
    """The cache, the data sets, the folder of temporary files, and whether a socket may be opened."""
    return (
        _folder("cache", cache.root(), "PAGBENCH_CACHE", "note"),  # one that is read-only is of use, too
        _folder("data sets", _data(), "PAGBENCH_DATA", "note"),
        _folder("temporary", _temporary(), "TMPDIR", "broken"),
        _network(),
    )


def _data() -> Path:
    """As `pagbench.data.folder.root`, which cannot be had without torch."""
    given = os.environ.get("PAGBENCH_DATA")
    return Path(given).expanduser() if given else cache.root() / "data"


def _temporary() -> Path:
    """Where temporary files should go: Python looks for another folder where that is full."""
    given = next(filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), None)
    return Path(given) if given else Path("/tmp") if os.name == "posix" else Path(tempfile.gettempdir())


def _network() -> Finding:
    if cache.offline():
        told = "offline, by --offline or PAGBENCH_OFFLINE: `pagbench fetch` fetches nothing until that is taken away"
        return Finding("note", "network", (told,))
    return Finding("ok", "network", ("may be used by runs and by `pagbench fetch`; this command does not",))


def _folder(name: str, path: Path, variable: str, otherwise: State) -> Finding:
    """One folder, and its state if it cannot be written; nothing is left in it."""
    given = "" if os.environ.get(variable) else f" (set {variable} for another)"
    advice = f"make room, or set {variable} to a folder that can be written"
    try:
        there = _nearest(path)
        free = shutil.disk_usage(there).free
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_TRIED))
            file.flush()
    except OSError as error:
        reason = error.strerror or first_line(error)
        return Finding(otherwise, name, (f"{path} cannot be written ({reason}): {advice}",))
    used = _size(path) if there == path else "not there yet"
    told = f"{path}{given}: {used}, {decimal(free)} free on its disk"
    return Finding("ok", name, (told,)) if free > _LITTLE else Finding("note", name, (f"{told}: {advice}",))


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there.

    Raises:
        NotADirectoryError: a file is in its place.
    """
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is no folder")
    return path if there == path.absolute() else there


def _size(folder: Path) -> str:
    """What its files take; a lower bound where there are too many to look at."""
    started, total = time.monotonic(), 0
    for size in _sizes(folder):
        total += size
        if time.monotonic() - started > _PATIENCE:
            return f"over {decimal(total)} used"
    return f"{decimal(total)} used"


def _sizes(folder: Path) -> Iterator[int]:
    for home, _, names in os.walk(folder):  # skips what it may not read
        for name in names:
            try:
                yield os.lstat(os.path.join(home, name)).st_size  # noqa: PTH118 (many files)
            except OSError:
                continue
