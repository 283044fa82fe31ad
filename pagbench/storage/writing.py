"""Files that nobody sees half of."""

import os
from collections.abc import Callable
from pathlib import Path

from pagbench.errors import ResultsError, first_line


def atomically(path: Path, put: Callable[[Path], object]) -> Path:
    """Writes a file beside its place, then renames: nobody sees half of one.

    Raises:
        ResultsError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(temporary)
        temporary.replace(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ResultsError(f"{path}: cannot write it ({reason}); give another --output") from None
    finally:
        _forget(temporary)
    return path


def _forget(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # its folder is a file
        return
