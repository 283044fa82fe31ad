"""Errors that reach the user as one line: what was got, what was expected, what to do next."""

import importlib
import importlib.util
import re
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any
from unicodedata import category

_LONGEST_LINE, _LINES = 200, 3
"""Characters of each line of an error of several lines, and how many lines follow the first."""
_HERE = Path(__file__).parent
_INSTALLED = re.compile(rf"[/\\](site|dist)-packages[/\\]|^<frozen |^{re.escape(sysconfig.get_path('stdlib'))}")
_CELL = re.compile("ipykernel_|^<ipython-input")
_HIDDEN = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp"))
_STACKED = 8
"""Marks in a row that stand on one character, and hide what is near."""
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U0001d159\U000e0000-\U000e0fff]"
)
"""Marks of visible kinds that show nothing."""
_MARKDOWN = re.compile(r"[\\`*\[\]<|~$]|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.")
"""What Markdown reads as more than text; of addresses, what some of it makes a link by."""
_MENTION = re.compile(r"(?<!\w)(@(?=\w)|#(?=\d))")
"""What some hosts make links of, and tell the person of; no backslash prevents it."""
_FORMULA = re.compile("(^|;)(?=[=+@\uff1d\uff0b\uff0d\uff20\u2212-])")
"""What a spreadsheet takes for the beginning of a formula, wide forms among them; some end cells by semicolons."""


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


def described(error: BaseException) -> str:
    """An exception's type and first line, and the last line of the user's own code, if any, on the way to it."""
    kind, line = type(error).__name__, first_line(error)
    said = kind if line == kind else f"{kind}: {line}"
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _INSTALLED.search(frame.filename)]
    own = [frame for frame in own if not Path(frame.filename).is_relative_to(_HERE)]
    if not own:
        return said
    file = "a notebook's cell" if _CELL.search(own[-1].filename) else Path(own[-1].filename).name
    return f"{said}, {file}, line {own[-1].lineno}"


def warn(line: str) -> None:
    """A warning at the line outside of pagbench that has led to it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and Path(frame.f_code.co_filename).is_relative_to(_HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(line, stacklevel=level)


def hidden(text: str) -> str | None:
    r"""The first mark of a text that nobody sees or that a terminal may act on; None where there is none.

    Those are control characters, line breaks among them, marks of direction, invisible ones, and halves of characters.

    >>> hidden("naïve\u00a0☃"), hidden("a" + chr(0x202E) + "b"), hidden("a" + chr(0x3164))
    (None, '\u202e', '\u3164')
    """
    if text.isascii() and text.isprintable():
        return None
    stacked = 0
    for mark in text:
        kind = category(mark)
        stacked = stacked + 1 if kind in ("Me", "Mn") else 0
        if kind in _HIDDEN or _BLANK.match(mark) or stacked > _STACKED:
            return mark
    return None


def printable(text: str) -> str:
    r"""A text in one line for a terminal, whatever a file or its name holds: marks that it may act on are spelt out.

    >>> printable("a" + chr(27) + "b  c")
    'a\\x1bb c'
    """
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    return "".join(mark if mark.isprintable() and not _BLANK.match(mark) else ascii(mark)[1:-1] for mark in line)


def excerpt(text: str, longest: int = 80) -> str:
    r"""The beginning of a text, printable; cut before marks are spelt out, which takes a hundred times their memory.

    >>> excerpt("a" + chr(27) + "b", 2)
    'a\\'
    """
    return printable(text[:longest])[:longest]


def in_markdown(text: str) -> str:
    r"""A text in one line of Markdown or of a cell of its tables, as it is written: no link, tag, picture or code.

    >>> in_markdown("[a](javascript:b) <b> a_b")
    '\\[a\\](javascript:b) \\<b> a_b'
    """
    return _MENTION.sub(r"\g<0><!-- -->", _MARKDOWN.sub(r"\\\g<0>", printable(text)))


def in_csv(text: str) -> str:
    r"""A text in one line of a cell of CSV, behind `'` where a spreadsheet would take it for a formula.

    >>> in_csv("=1+2"), in_csv("a-b")
    ("'=1+2", 'a-b')
    """
    return _FORMULA.sub(r"\1'", printable(text))


class PagbenchError(Exception):
    """Base of every error that pagbench raises on purpose; the command line prints it and exits with 2."""


class UnknownNameError(PagbenchError):
    """A name that no registry holds; the message lists the closest ones.

    Args:
        noun: what it is the name of.
        got: the name.
        known: names that there are.
        advice: what the message has instead of the first names where none is close.
    """

    def __init__(self, noun: str, got: str, known: Iterable[str], advice: str = "") -> None:
        names = sorted(known)
        lower = {name.lower(): name for name in names}
        close = [lower[name] for name in get_close_matches(got.lower(), lower, n=3)]
        close = close or [name for name in names if got and name.lower().startswith(got.lower())][:3]
        close = close or ([] if advice else names[:8])
        shown = got if len(got) <= _LONGEST_LINE else f"{got[:_LONGEST_LINE]}…"
        found = f"closest: {', '.join(close) or 'none are installed'}"
        super().__init__(f"unknown {noun} {shown!r}; {found if close or not advice else advice}")


class CardError(PagbenchError):
    """A card (YAML) with a wrong, missing or superfluous field."""


class WeightsError(PagbenchError):
    """Weights that are missing, truncated, altered, of another network, or not plain tensors."""


class GraphError(PagbenchError):
    """A network's graph that cannot be read, is not within its bounds, or computes something else than it should."""


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
