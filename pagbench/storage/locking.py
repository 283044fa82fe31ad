"""One process at a time, on this machine or on others that share a disk, and no file that stays behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

_PATIENCE_S = 600.0


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Within, no other process is within the same; its end, however it comes, frees the lock.

    Args:
        path: a file for the lock, in a folder that exists; it is removed in the end.

    Raises:
        OSError: the file cannot be made, or another process keeps it for ten minutes.
    """
    lock = FileLock(path, timeout=_PATIENCE_S)
    lock.acquire()
    while not _is_there(lock, path):  # whoever had it has removed the file that was waited for
        lock.release()
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # where open files cannot be removed, it stays
            path.unlink()
        lock.release()


def _is_there(lock: FileLock, path: Path) -> bool:
    handle = lock._context.lock_file_fd
    try:
        return handle is not None and os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
