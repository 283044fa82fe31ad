"""Imports RobustBench on a current stack, and leaves every other import as it was.

Release 1.1.1 imports `pkg_resources`, which setuptools 82 dropped, and `autoattack`, where the package that it depends
on calls the module `pyautoattack`.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator
from importlib.resources import files
from types import ModuleType

from pagbench.errors import CardError, first_line


def robustbench() -> ModuleType:
    """The module `robustbench.utils`, of which `load_model` and the zoo are part.

    Raises:
        CardError: the package is missing, or does not import for a reason of its own.
    """
    try:
        with quiet(), _stand_ins():
            utils = importlib.import_module("robustbench.utils")
    except ImportError as error:
        raise CardError(
            f"robustbench cannot be imported ({first_line(error)}); install it: pip install 'pagbench[robustbench]'"
        ) from None
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"robustbench\.")  # of its networks' forward calls
    return utils


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what its code prints and warns of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Modules under the two missing names, for as long as the import lasts; real ones are left alone."""
    makers = {"pkg_resources": _pkg_resources, "autoattack": _autoattack}
    absent = {name for name in makers if not _importable(name)}
    sys.modules.update({name: makers[name]() for name in absent})
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in absent]:
            del sys.modules[name]


def _importable(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _pkg_resources() -> ModuleType:
    """The one function that RobustBench's data sets call."""

    def resource_filename(module: str, path: str) -> str:
        return str(files(module.rpartition(".")[0]) / path)

    module = ModuleType("pkg_resources")
    module.resource_filename = resource_filename  # type: ignore[attr-defined]
    return module


def _autoattack() -> ModuleType:
    return importlib.import_module("pyautoattack")
