"""Files on a disk: hashed, written whole or not at all, and locked between processes. No torch."""

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from filelock import FileLock, Timeout

from pagbench.errors import PagbenchError, ResultsError, first_line

TEMPORARY = ".tmp"
"""Suffix of what `replacing` has not finished; a killed process leaves it behind."""
_LOCK_TIMEOUT_S = 600.0
_WAIT_S = 1.0
"""Seconds before a waiting process says that it waits."""
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""What file systems without locks answer, as some network ones."""


def at_home(path: str | Path) -> Path:
    """A path that a user gives, `~` in front of it read as the home folder; as it is where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's own raises where there is no such user)


def open_regular(path: str | Path) -> BufferedReader:
    """Opens a regular file to read: pipes, devices and sockets, which may never end, are refused, links to them too.

    The kind is looked at on what was opened, so that nothing can be put in its place after the look.

    Raises:
        OSError: it is none, or cannot be read; `strerror` says which.
    """
    # an open of a pipe that nobody writes to would wait; Windows has no such pipes
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        found = "a folder" if stat.S_ISDIR(kind) else "a pipe, device or socket"
        raise OSError(errno.EINVAL, f"{found}, expected a file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | Path, largest: int) -> bytes:
    """The content of a regular file of at most so many bytes, of which no more are read.

    Raises:
        OSError: it is larger, no regular file, or cannot be read; `strerror` says which.
    """
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"more than {largest} bytes", str(path))
    return content


def sha256_of(path: Path) -> str:
    """Sha256 of a regular file's bytes, hexadecimal; read a piece at a time.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(
    path: Path, error: type[PagbenchError] | None = None, advice: str = "give another --output"
) -> Iterator[Path]:
    """Yields a path to write to, beside `path`, and renames it to `path` at the end: readers never see half a file.

    The folder is made. Where the block raises, `path` stays as it was and nothing is left behind.

    Args:
        path: the file to replace or to make.
        error: raised, in one line, where the disk or the format refuses; None to raise what was raised.
        advice: what to do then.

    Raises:
        PagbenchError: the disk refuses, and `error` is given.
        OSError: the disk refuses, and it is not.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except (OSError, ValueError) as failure:
        if error is None:
            raise
        reason = getattr(failure, "strerror", None) or first_line(failure)
        raise error(f"{path}: cannot write it ({reason}); {advice}") from None
    finally:
        with suppress(OSError):  # its folder may be a file
            temporary.unlink(missing_ok=True)


def write(
    path: Path,
    content: bytes | str,
    error: type[PagbenchError] = ResultsError,
    advice: str = "give another --output",
) -> Path:
    """Writes a whole file, as `replacing` does; text in UTF-8.

    Raises:
        PagbenchError: the disk refuses.
    """
    with replacing(path, error, advice) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def can_lock(folder: Path) -> bool:
    """Whether files in a folder, which is there, can be locked; tried with one of its own.

    Raises:
        OSError: no file can be made there.
    """
    try:
        import fcntl
    except ImportError:  # Windows, which always can
        return True
    probe = folder / f".{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with probe.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


@contextmanager
def file_lock(
    path: Path, *, timeout_s: float = _LOCK_TIMEOUT_S, on_wait: Callable[[], None] | None = None
) -> Iterator[bool]:
    """Within, no other process that shares the disk is within the same; a killed process frees the lock.

    Yields whether that is so: on a file system without locks nothing is held.

    Args:
        path: a file for the lock; its folder is made, and the file is removed in the end.
        timeout_s: longest wait; negative to wait for ever.
        on_wait: called once where another process has the lock.

    Raises:
        OSError: the file cannot be made, or another process keeps it for longer than the timeout.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not can_lock(path.parent):  # tried first, for releases of filelock each do something else then
        yield False
        return
    lock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire(timeout=_WAIT_S if on_wait is not None else None)
    except Timeout:
        if on_wait is None:
            raise
        on_wait()
        lock.acquire()
    while not _is_on_disk(lock, path):  # the process that had the lock has removed the file that was waited for
        lock.release()
        lock.acquire()
    try:
        yield True
    finally:
        with suppress(OSError):  # where open files cannot be removed, it stays
            path.unlink()
        lock.release()


def _is_on_disk(lock: FileLock, path: Path) -> bool:
    handle = lock._context.lock_file_fd
    try:
        return handle is not None and os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
