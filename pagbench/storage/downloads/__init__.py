"""Files that others publish: found on this machine, or fetched into the cache. No torch.

Mirrors are tried in order. A file takes its name only when it is whole and its sha256 is the card's, or that of its
first use, which `fetched.json` keeps. A download that broke off goes on at the next call.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from pagbench.cards import Card, Fitted, RemoteFile
from pagbench.errors import WeightsError
from pagbench.storage import cache
from pagbench.storage.downloads import archives, content, lockfile, mirrors, repositories, transport
from pagbench.storage.downloads.mirrors import MirrorError
from pagbench.storage.downloads.progress import Display, display, tell
from pagbench.storage.downloads.transport import Part
from pagbench.storage.files import sha256_of

_compared: set[tuple[Path, int, int, str | None]] = set()
"""Place, size, time of change and card's hash of what this process has compared already."""


def place(file: RemoteFile) -> Path:
    """Where the file lies in the cache folder, or would."""
    return cache.root() / file.path


def find(file: RemoteFile) -> Path | None:
    """Where the file lies already: in the cache folder, or where others keep it (`also`)."""
    needs_shared_storage = (Path(os.path.expandvars(path)).expanduser() for path in file.also)
    return next((path for path in (place(file), *needs_shared_storage) if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that nobody may look into
        return False


def get(file: RemoteFile) -> Path:
    """Where the file lies; fetched first where it does not.

    Raises:
        WeightsError: it is not there and cannot be fetched (says where to put it by hand), or it is not what the card
            or its first use says.
    """
    path = find(file)
    if path is not None:
        _compare(file, path)
        return path
    path = place(file)
    if file.archive is None:
        _fetch(file, path)
    else:
        archives.unpack(get(file.archive), path)
        _compare(file, path)
    return path


def named_in(card: Card) -> tuple[RemoteFile, ...]:
    """Every file that a card, or a card within it, names."""
    return tuple(dict.fromkeys(_files(card)))


def _files(value: Any) -> Iterator[RemoteFile]:
    if isinstance(value, RemoteFile):
        yield value
    elif isinstance(value, Card):
        if isinstance(value, Fitted):
            yield from repositories.files(value)
        for _, part in value:
            yield from _files(part)
    elif isinstance(value, tuple) and value and isinstance(value[0], Card):
        for part in value:
            yield from _files(part)


def _compare(file: RemoteFile, path: Path) -> None:
    """Compares a file that is there with its hash, once per process; keeps the hash of one that is new.

    Raises:
        WeightsError: it is another, or no whole file.
    """
    try:
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns, file.sha256)
        if key in _compared:
            return
        found, (expected, whence) = sha256_of(path), _expected(file)
        wrong = None if found == expected else content.flaw(path, path.name)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    if wrong is None and expected not in (None, found):
        wrong = f"sha256 {found[:12]}…, {whence}"
    if wrong is not None:
        raise WeightsError(f"{path}: {wrong}; delete the file to fetch it anew")
    record = lockfile.find(file.path)
    if record is None or record.sha256 != found:
        _record(file, path, found, None)
    _compared.add(key)


def _expected(file: RemoteFile) -> tuple[str | None, str]:
    """The hash that a file should have, and who says so: its card, else its first use."""
    record = lockfile.find(file.path)
    if file.sha256 is not None or record is None:
        return file.sha256, f"the card says {str(file.sha256)[:12]}…"
    return record.sha256, (
        f"it was {record.sha256[:12]}… on its first use, {record.date[:10]}; "
        f"delete its entry in {lockfile.path()} to trust the new one"
    )


def _fetch(file: RemoteFile, path: Path) -> None:
    if cache.offline():
        raise WeightsError(
            f"{file.path}: not in the cache, and offline; fetch {_pages(file)} elsewhere and {_by_hand(file, path)}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file.path):
            if path.is_file():  # another process was faster
                return _compare(file, path)
            _fetch_from_mirrors(file, path)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot write there ({error.strerror or error}); make room, or set PAGBENCH_CACHE to another "
            "folder, and start again: what has arrived is kept"
        ) from None


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Keeps other processes from fetching the same file."""
    lock = lockfile.lock(name)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        tell(f"waiting for another process that fetches {name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_from_mirrors(file: RemoteFile, path: Path) -> None:
    part = Part(path.with_name(f".{path.name}.part"))
    answers = []
    for mirror in file.mirrors:
        try:
            with display(file.path, file.size) as shown:
                found = _fetch_from(mirror, file, part, shown)
        except MirrorError as error:
            answers.append(f"{mirrors.page(mirror)}: {error}")
            continue
        part.finish(path)
        _record(file, path, found, mirror)
        return
    raise WeightsError(f"{file.path}: {'; '.join(answers) or 'its card names no mirror'}; {_by_hand(file, path)}")


def _fetch_from(mirror: str, file: RemoteFile, part: Part, shown: Display) -> str:
    """Fetches from one mirror and returns the sha256. What an earlier try left is dropped if the whole is wrong."""
    expected, whence = _expected(file)
    source = mirrors.address(mirror, hashed=expected is not None)
    resumed = part.size > 0
    while True:
        transport.download(source, part, hashed=expected is not None, display=shown, limit=file.size)
        found = sha256_of(part.path)
        wrong = content.flaw(part.path, file.path)
        if wrong is None and expected not in (None, found):
            wrong = f"another file, sha256 {found[:12]}…, {whence}"
        if wrong is None:
            return found
        part.discard()
        if not resumed:
            raise MirrorError(wrong)
        resumed = False


def _record(file: RemoteFile, path: Path, sha256: str, mirror: str | None) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a cache that is read-only is of use, too
        entry = lockfile.Record(sha256=sha256, size=path.stat().st_size, mirror=mirror, date=now)
        lockfile.record(file.path, entry)
        state = path.stat()
        _compared.add((path, state.st_size, state.st_mtime_ns, file.sha256))


def _pages(file: RemoteFile) -> str:
    return " or ".join(mirrors.page(mirror) for mirror in file.mirrors) or "it"


def _by_hand(file: RemoteFile, path: Path) -> str:
    """What to do where nothing else helps."""
    return f"put the file at {path}{f' (sha256 {file.sha256})' if file.sha256 else ''}"
