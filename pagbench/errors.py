"""Errors that reach the user as one line: what was got, what was expected, what to do next."""

import importlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def first_line(error: BaseException) -> str:
    """An exception's message in one line; its type where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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


def import_extra(module: str, extra: str) -> Any:
    """Imports a module of a package that only an extra of pagbench installs.

    Args:
        module: its full name, as `diffusers`.
        extra: of pagbench, as `diffusion`.

    >>> import_extra("absent_package.part", "site")
    Traceback (most recent call last):
    pagbench.errors.MissingPackageError: absent_package is not installed; install it: pip install 'pagbench[site]'

    Raises:
        MissingPackageError: the package is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingPackageError(f"{package} is not installed; install it: pip install 'pagbench[{extra}]'") from None
