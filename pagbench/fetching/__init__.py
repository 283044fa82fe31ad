"""Files that others publish: found in the cache, or fetched into it. No torch."""

from pathlib import Path

from pagbench import cache
from pagbench.cards import RemoteFile
from pagbench.errors import WeightsError


def get(file: RemoteFile) -> Path:
    """Where the file lies in the cache; fetched first where it does not.

    Raises:
        WeightsError: it is not there and cannot be fetched; says where to put it by hand.
    """
    path = cache.root() / file.path
    if not path.is_file():
        raise WeightsError(f"{path}: not there; fetch {' or '.join(file.mirrors)} and put the file there")
    return path
