"""The one folder that holds whatever is fetched, and whether anything may be."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pagbench.errors import PagbenchError
from pagbench.storage.files import at_home


def root() -> Path:
    """`$PAGBENCH_CACHE`, else `~/.cache/pagbench`: weights, score models, data sets.

    Raises:
        PagbenchError: it is in a home folder that nobody has.
    """
    return named_by("PAGBENCH_CACHE") or _in_home("~/.cache/pagbench", "PAGBENCH_CACHE")


def named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it names none.

    Raises:
        PagbenchError: it is in a home folder that nobody has.
    """
    given = os.environ.get(variable)
    return _in_home(given, variable) if given else None


def _in_home(folder: str, variable: str) -> Path:
    path = at_home(folder)
    if str(path).startswith("~"):  # not below the working folder, under that name
        raise PagbenchError(f"{path}: there is no such home folder; set {variable} to a folder")
    return path


def offline() -> bool:
    """Whether no socket may be opened: `--offline`, or `PAGBENCH_OFFLINE=1`."""
    return os.environ.get("PAGBENCH_OFFLINE", "") not in ("", "0")


@contextmanager
def libraries() -> Iterator[None]:
    """Within, libraries that fetch by themselves do it into this folder, unless the user has given them another."""
    folders = {"TORCH_HOME": root() / "torch", "HF_HUB_CACHE": root() / "huggingface"}
    free = {name: str(folder) for name, folder in folders.items() if name not in os.environ}
    with environment(free):
        yield


@contextmanager
def going_offline() -> Iterator[None]:
    """Within, neither pagbench nor the hub's library opens a socket; processes started within inherit it."""
    with environment({"PAGBENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}):
        yield


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Within, this process and those that it starts have these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
