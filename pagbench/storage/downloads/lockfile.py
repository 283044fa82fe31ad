"""`fetched.json` in the cache folder: what each file was when it was first trusted."""

import json
import os
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from pagbench.cards import Card, Count, Sha256
from pagbench.errors import WeightsError
from pagbench.storage import cache


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


def path() -> Path:
    """Where the lockfile lies."""
    return cache.root() / "fetched.json"


def find(name: str) -> Record | None:
    """The record of a file, by its path below the cache folder.

    Raises:
        WeightsError: the lockfile cannot be read.
    """
    return _read().get(name)


def record(name: str, entry: Record) -> None:
    """Keeps a record; other processes may do so at the same time.

    Raises:
        OSError: the disk refuses.
    """
    with lock(path().name):
        records = _read() | {name: entry}
        content = {key: value.model_dump(mode="json") for key, value in sorted(records.items())}
        temporary = path().with_name(f".fetched.{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path())


def lock(name: str) -> FileLock:
    """What keeps other processes from a file of the cache folder; the system frees the lock of a killed one.

    Raises:
        OSError: the disk refuses.
    """
    place = cache.root() / ".locks" / f"{name}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(place)


def _read() -> dict[str, Record]:
    try:
        return _RECORDS.validate_json(path().read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not what pagbench writes"
        raise WeightsError(f"{path()}: cannot be read ({reason}); delete it, and files are trusted anew") from None
