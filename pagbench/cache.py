"""The one folder that holds whatever is fetched, and whether anything may be."""

import os
from pathlib import Path


def root() -> Path:
    """`$PAGBENCH_CACHE`, else `~/.cache/pagbench`: weights, score models, data sets."""
    return Path(os.environ.get("PAGBENCH_CACHE") or Path.home() / ".cache" / "pagbench").expanduser()


def offline() -> bool:
    """Whether no socket may be opened: `--offline`, or `PAGBENCH_OFFLINE=1`."""
    return os.environ.get("PAGBENCH_OFFLINE", "") not in ("", "0")
