"""Errors that reach the user as one line: what was got, what was expected, what to do next."""

import importlib
import importlib.util
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

_LONGEST_LINE, _LINES = 200, 3
"""Characters of each line of an error of several lines, and how many lines follow the first."""


def first_line(error: BaseException) -> str:
    r"""An exception's message in one line; its type where it has no message.

    Where the first line only announces the others, as where weights do not fit, they follow it.

    >>> first_line(RuntimeError("Error(s) in loading:\n\tMissing key(s): a.\n\tUnexpected key(s): b."))
    'Error(s) in loading: Missing key(s): a. Unexpected key(s): b.'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if not lines[0].endswith(":"):
        return lines[0]
    return " ".join(shorten(line, _LONGEST_LINE, placeholder=" …") for line in lines[: 1 + _LINES])


def printable(text: str) -> str:
    r"""A text in one line for a terminal, whatever a file or its name holds: marks that it may act on are spelt out.

    >>> printable("a" + chr(27) + "b  c")
    'a\\x1bb c'
    """
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in " ".join(text.split()))


class PagbenchError(Exception):
    """Base of every error that pagbench raises on purpose; the command line prints it and exits with 2."""


class UnknownNameError(PagbenchError):
    """A name that no registry holds; the message lists the closest ones."""

    def __init__(self, noun: str, got: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(got, names, n=3, cutoff=0.4) or names[:8]
        got = got if len(got) <= _LONGEST_LINE else f"{got[:_LONGEST_LINE]}…"
        super().__init__(f"unknown {noun} {got!r}; closest: {', '.join(close) or 'none are installed'}")


class CardError(PagbenchError):
    """A card (YAML) with a wrong, missing or superfluous field."""


class WeightsError(PagbenchError):
    """Weights that are missing, truncated, altered, of another network, or not plain tensors."""


class ContractError(PagbenchError):
    """A classifier that breaks its contract: shapes, range, finiteness, determinism, differentiability."""


class DataError(PagbenchError):
    """A data set whose content is not what its card says."""


class ResultsError(PagbenchError):
    """A results folder or file that cannot be read, written or combined."""


class TrainingError(PagbenchError):
    """A training run that cannot start or has diverged."""


class PredictionError(PagbenchError):
    """A prediction of theory that the package's own numbers do not bear out."""


class MissingPackageError(PagbenchError):
    """A package that few need, and that is not installed; the message has the command that installs it."""


EXTRAS = {
    "azula": "diffusion",
    "diffusers": "diffusion",
    "foolbox": "samples",
    "jinja2": "site",
    "latex2mathml": "site",
    "pyautoattack": "attacks",
    "ray": "ray",
    "robustbench": "robustbench",
}
"""Packages that only an extra of pagbench installs, and that extra's name, as in `pyproject.toml`."""


def install_command(package: str) -> str:
    """The command that installs a package of `EXTRAS`.

    >>> install_command("diffusers")
    "pip install 'pagbench[diffusion]'"
    """
    return f"pip install 'pagbench[{EXTRAS[package]}]'"


def is_installed(package: str) -> bool:
    """Whether a package is there to import; it is not imported."""
    return importlib.util.find_spec(package) is not None


def check_extra(package: str) -> None:
    """Looks for a package of `EXTRAS`, and does not import it.

    Raises:
        MissingPackageError: it is not installed.
    """
    if not is_installed(package):
        raise _missing(package)


def _missing(package: str) -> MissingPackageError:
    return MissingPackageError(f"{package} is not installed; install it: {install_command(package)}")


def import_extra(module: str) -> Any:
    """Imports a module, by its full name, of a package of `EXTRAS`.

    Raises:
        MissingPackageError: the package is not installed, or lacks the module.
    """
    package = module.partition(".")[0]
    check_extra(package)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise _missing(package) from None
