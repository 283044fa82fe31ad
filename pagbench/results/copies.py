"""A copy on disk of results behind a URL, for the half of the package that reads."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pagbench.errors import ResultsError, first_line
from pagbench.storage import cache
from pagbench.storage.paths import StoragePath, is_url


def local(folder: str | Path) -> Path:
    """The folder itself, or of one behind a URL a copy in the cache, with what has changed since the last.

    Raises:
        ResultsError: the URL leads nowhere.
    """
    if not is_url(folder):
        return Path(folder)
    there, name = StoragePath.parse(folder), hashlib.sha256(str(folder).rstrip("/").encode()).hexdigest()[:16]
    copy = cache.root() / "results" / name
    try:
        wanted = {copy / PurePosixPath(place.path).relative_to(there.path) for place in _copied(there, copy)}
        for path in [path for path in copy.rglob("*") if path.is_file() and path not in wanted]:
            path.unlink()
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read ({first_line(error)}); check the URL") from None
    return copy


def _copied(there: StoragePath, copy: Path) -> Iterator[StoragePath]:
    """Every file there, after it was copied unless the copy is of the same size and not older."""
    for place in there.children(deep=True):
        path = copy / PurePosixPath(place.path).relative_to(there.path)
        info = place.files.get_file_info(place.path)
        if not (path.exists() and path.stat().st_size == info.size and path.stat().st_mtime_ns == info.mtime_ns):
            try:
                StoragePath.parse(path).write(place.read())
            except FileNotFoundError:  # a run has merged it meanwhile
                continue
            if info.mtime_ns is not None:
                os.utime(path, ns=(info.mtime_ns, info.mtime_ns))
        yield place
