"""Where data sets lie, and how they get there."""

import os
from collections.abc import Callable
from pathlib import Path

from pagbench.errors import DataError, first_line
from pagbench.storage import cache


def root() -> Path:
    """Folder of data sets: `$PAGBENCH_DATA`, else `data` in the cache folder, `~/.cache/pagbench` by default."""
    given = os.environ.get("PAGBENCH_DATA")
    return Path(given).expanduser() if given else cache.root() / "data"


def download(name: str, place: Path, start: Callable[[], object], by_hand: str) -> None:
    """Lets torchvision download a data set.

    Args:
        name: of the data set, for the message.
        place: where its files are looked for.
        start: downloads.
        by_hand: what to do where that is impossible.

    Raises:
        DataError: offline, or the download failed; says what to do by hand.
    """
    try:
        if cache.offline():
            raise ConnectionError("offline")
        start()
    except Exception as error:  # torchvision raises whatever its download raises
        raise DataError(f"{name}: not in {place} and the download failed ({first_line(error)}); {by_hand}") from None
