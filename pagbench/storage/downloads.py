"""Files that others publish: found on this machine, or fetched into the cache. No torch.

Mirrors are tried in order. A file takes its name only when it is whole and its sha256 is the card's, or that of its
first use, which `fetched.json` keeps. A download that broke off goes on at the next call.
"""

import json
import lzma
import math
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import Timeout
from pydantic import TypeAdapter, ValidationError

from pagbench.cards import Card, Count, Fitted, RemoteFile, Sha256
from pagbench.errors import CardError, WeightsError, first_line, printable
from pagbench.storage import cache, content, mirrors, transport
from pagbench.storage.connections import Clock
from pagbench.storage.files import at_home, file_lock, read_regular, replacing, sha256_of
from pagbench.storage.mirrors import MirrorError
from pagbench.storage.transport import Part, display, notify

_LARGEST = 32 * 2**30
"""Bytes of a file whose card does not say its size, and of one taken out of an archive."""
LARGEST_JSON = 16 * 2**20
_MOST_MEMBERS = 100_000
_LARGEST_HEADER = 2**20
_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip

_compared: set[tuple[Path, int, int, str | None]] = set()
"""Path, size, time of change and card's hash of what this process has compared already."""


class Record(Card):
    """A file as it was fetched, or as it was when it was found for the first time."""

    sha256: Sha256
    size: Count
    """Bytes."""
    mirror: str | None
    """Where it came from; null for a file that the user put there."""
    date: str
    """When, ISO 8601, UTC."""


_RECORDS = TypeAdapter(dict[str, Record])


def records_path() -> Path:
    """Where the records of first uses lie."""
    return cache.root() / "fetched.json"


def records() -> dict[str, Record]:
    """The records of first uses, by the file's path below the cache folder.

    Raises:
        WeightsError: they cannot be read.
    """
    path = records_path()
    try:
        return _RECORDS.validate_json(read_regular(path, LARGEST_JSON))
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else "not what pagbench writes"
        raise WeightsError(f"{path}: cannot be read ({reason}); delete it, and files are trusted anew") from None


def path_of(file: RemoteFile) -> Path:
    """Where the file lies in the cache folder, or would."""
    return cache.root() / file.place


def find(file: RemoteFile) -> Path | None:
    """Where the file lies already: in the cache folder, or where others keep it (`also`)."""
    others = (at_home(os.path.expandvars(path)) for path in file.also)
    for path in (path_of(file), *others):
        with suppress(OSError):  # a folder that this user may not look into
            if path.is_file():
                return path
    return None


def get(file: RemoteFile, *, seconds: float = math.inf) -> Path:
    """Where the file lies; fetched first where it does not.

    Args:
        file: what is wanted.
        seconds: longest that fetching it may take, from all its mirrors.

    Raises:
        WeightsError: it is not there and cannot be fetched (says where to put it by hand), or it is not what the card
            or its first use says.
    """
    path = find(file)
    if path is not None:
        _compare(file, path)
        return path
    path = path_of(file)
    if file.archive is None:
        _fetch(file, path, seconds)
    else:
        _unpack(get(file.archive, seconds=seconds), path, _largest(file))
        _compare(file, path)
    return path


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that was fetched, as a network's configuration.

    Raises:
        WeightsError: it cannot be read, is too large or too deep, or no JSON.
        CardError: it is no JSON object.
    """
    try:
        content = json.loads(read_regular(path, LARGEST_JSON).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a JSON configuration ({first_line(error)}); fetch the file anew") from None
    if not isinstance(content, dict):
        raise CardError(f"{path}: expected a JSON object, got {type(content).__name__}; fetch the file anew")
    return content


def files_of(card: Card) -> tuple[RemoteFile, ...]:
    """Every file that a card, or a card within it, names."""
    return tuple(dict.fromkeys(_files(card)))


def _files(value: Any) -> Iterator[RemoteFile]:
    if isinstance(value, RemoteFile):
        yield value
    elif isinstance(value, Card):
        if isinstance(value, Fitted):
            yield from mirrors.repository_files(value)
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
        if _state(file, path) in _compared:
            return
        digest = sha256_of(path)
        flaw = _flaw(file, path, digest)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    if flaw is not None:
        raise WeightsError(f"{path}: {flaw}; delete the file to fetch it anew")
    record = records().get(file.place)
    if record is None or record.sha256 != digest:
        _record(file, path, digest, None)
    _compared.add(_state(file, path))


def _state(file: RemoteFile, path: Path) -> tuple[Path, int, int, str | None]:
    """What changes where the file or its card does."""
    state = path.stat()
    return path, state.st_size, state.st_mtime_ns, file.sha256


def _flaw(file: RemoteFile, path: Path, digest: str) -> str | None:
    """Why a file of this hash is not the one that its card, or else its first use, says; None where it is."""
    record = records().get(file.place)
    expected = file.sha256 or (None if record is None else record.sha256)
    if digest == expected:
        return None
    flaw = content.flaw(path, file.path)
    if flaw is not None or expected is None:
        return flaw
    origin = f"the card says {expected[:12]}…"
    if file.sha256 is None and record is not None:
        origin = (
            f"it was {expected[:12]}… on its first use, {record.date[:10]}; "
            f"delete its entry in {records_path()} to trust the new one"
        )
    return f"another file, sha256 {digest[:12]}…, {origin}"


def _record(file: RemoteFile, path: Path, sha256: str, mirror: str | None) -> None:
    """Keeps what a file is; other processes may keep others at the same time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):  # a cache that is read-only is of use, too
        entry = Record(sha256=sha256, size=path.stat().st_size, mirror=mirror, date=now)
        with _lock(records_path().name), replacing(records_path()) as temporary:
            entries = dict(sorted((records() | {file.place: entry}).items()))
            temporary.write_bytes(_RECORDS.dump_json(entries, indent=1))
        _compared.add(_state(file, path))


def _lock(
    name: str, on_wait: Callable[[], None] | None = None, seconds: float = math.inf
) -> AbstractContextManager[bool]:
    """Keeps other processes from a file of the cache folder, where its file system has locks."""
    timeout = -1 if seconds == math.inf else seconds
    return file_lock(cache.root() / ".locks" / f"{name}.lock", timeout_s=timeout, on_wait=on_wait)


def _fetch(file: RemoteFile, path: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    if cache.offline():
        pages = " or ".join(mirrors.page(mirror) for mirror in file.mirrors) or "it"
        raise WeightsError(
            f"{file.path}: not in the cache, and offline; fetch {pages} elsewhere and {_by_hand(file, path)}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        waits = f"waiting for another process that fetches {file.path}"
        with _lock(file.place, lambda: notify(waits), seconds) as locked:
            if path.is_file():  # another process was faster
                return _compare(file, path)
            if locked:
                return _try_mirrors(file, path, Part(path.with_name(f".{path.name}.part")), end)
            part = Part(path.with_name(f".{path.name}.{os.getpid()}.part"))  # others may fetch the same
            try:
                _try_mirrors(file, path, part, end)
            finally:
                part.discard()
    except Timeout:
        raise WeightsError(f"{file.path}: another process still fetches it after {seconds:g} s; wait for it") from None
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot write there ({error.strerror or error}); make room, or set PAGBENCH_CACHE to another "
            "folder, and start again: what has arrived is kept"
        ) from None


def _try_mirrors(file: RemoteFile, path: Path, part: Part, end: float) -> None:
    answers = []
    for mirror in file.mirrors:
        try:
            digest = _fetch_from(mirror, file, part, end)
        except MirrorError as error:
            answers.append(printable(f"{mirrors.page(mirror)}: {error}"))
            continue
        part.finish(path)
        _record(file, path, digest, mirror)
        return
    raise WeightsError(f"{file.path}: {'; '.join(answers) or 'its card names no mirror'}; {_by_hand(file, path)}")


def _largest(file: RemoteFile) -> int:
    """Bytes that a file may have."""
    return file.size or (LARGEST_JSON if file.path.endswith(".json") else _LARGEST)


def _fetch_from(mirror: str, file: RemoteFile, part: Part, end: float) -> str:
    """Fetches from one mirror and returns the sha256. What an earlier try left is dropped if the whole is wrong."""
    hashed, resumed = file.sha256 is not None or file.place in records(), part.size > 0
    clock = Clock(part.size, end)
    with display(file.path, file.size) as bar:
        while True:
            transport.download(mirror, part, hashed=hashed, display=bar, limit=_largest(file), clock=clock)
            digest = sha256_of(part.path)
            flaw = _flaw(file, part.path, digest)
            if flaw is None:
                return digest
            part.discard()
            if not resumed:
                raise MirrorError(flaw)
            resumed = False


def _by_hand(file: RemoteFile, path: Path) -> str:
    """What to do where nothing else helps."""
    return f"put the file at {path}{f' (sha256 {file.sha256})' if file.sha256 else ''}"


class _PlainEntry(tarfile.TarInfo):
    """An entry whose header is no larger than names are: tarfile reads all of it, and sparse files' maps."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_PlainEntry":
        """See `TarInfo`."""
        entry = super().frombuf(buf, encoding, errors)
        if entry.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file")
        if entry.type in _HEADERS and entry.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {entry.size} bytes")
        return entry

    def _proc_gnusparse_10(self, *_: Any) -> None:  # the newest kind of them, known by another header only
        raise tarfile.ReadError("a sparse file")


def _unpack(archive: Path, path: Path, largest: int) -> None:
    """Takes one file out of a tar archive: the one whose name is the end of the path, as `models/x.tar`.

    Raises:
        WeightsError: the archive is none, or has no such file, or one too large, or the disk refuses.
    """
    try:
        with replacing(path) as temporary, tarfile.open(archive, tarinfo=_PlainEntry) as tar:
            members = islice(tar, _MOST_MEMBERS)
            member = next((m for m in members if m.isfile() and _is_end(path, m.name)), None)
            source = None if member is None else tar.extractfile(member)
            if member is None or source is None:
                raise WeightsError(f"{archive}: has no {path.parent.name}/{path.name}; put the file at {path}")
            if member.size > largest:
                raise WeightsError(f"{archive}: {member.size} bytes of {path.name}, at most {largest} are taken")
            with source, temporary.open("wb") as target:
                shutil.copyfileobj(source, target)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not the archive's
            raise WeightsError(
                f"{path}: cannot write there ({error.strerror}); make room, or set PAGBENCH_CACHE to another folder"
            ) from None
        reason = printable(first_line(error))[:100]
        raise WeightsError(f"{archive}: cannot be unpacked ({reason}); delete it to fetch it anew") from None


def _is_end(path: Path, name: str) -> bool:
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and path.parts[-len(parts) :] == parts
