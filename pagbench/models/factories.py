"""Networks that a function builds: one in a Python file, or one that an installed package offers. No torch.

Importing this module, and listing what packages offer, runs none of their code; `Factory.build` does.
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagbench.errors import ContractError, UnknownNameError, first_line
from pagbench.models.local_ids import LocalFile, derive
from pagbench.storage.files import at_home, open_regular

if TYPE_CHECKING:
    from torch import nn

GROUP = "pagbench.models"
"""The entry points' group: each is a model's id and a function without arguments."""


class _NoFileError(ContractError):
    """A file of a function that is not there."""


@dataclass(frozen=True)
class Factory:
    """A function without arguments that returns a module, or a module and fields of its card.

    Attributes:
        id: of the model.
        origin: where the function is, for people.
        find: imports the function.
        folder: from where it may import its neighbours; None where it is installed.
    """

    id: str
    origin: str
    find: Callable[[], Callable[[], Any]]
    folder: Path | None = None

    def build(self) -> "tuple[nn.Module, dict[str, Any]]":
        """Runs the function: the module (pixels in [0, 1] → logits, unless the fields say otherwise), and the fields.

        Raises:
            ContractError: it cannot be imported, fails, or returns something else.
        """
        from torch import nn

        from pagbench.storage import global_state

        try:
            with global_state.known(), _neighbours(self.folder):
                built = self.find()()
        except (UnknownNameError, _NoFileError):
            raise
        except (Exception, SystemExit) as error:  # anyone's code may raise anything
            reason = "it ends the program" if isinstance(error, SystemExit) else first_line(error)
            raise ContractError(f"{self.origin}: {reason}") from error
        network, fields = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
        if not isinstance(network, nn.Module) or not isinstance(fields, dict):
            raise ContractError(
                f"{self.origin} returned {type(built).__name__}, expected a torch.nn.Module, or one and a dict of card "
                "fields"
            )
        return network, fields


def find(model: str, *, others: Sequence[str] = (), name: str | None = None) -> Factory | None:
    """The factory that a user names, as `path.py:function` or by the id of an entry point; None where it is neither.

    Args:
        model: what the user typed.
        others: what else has this id, for people.
        name: the id of what a file's function builds; by default what the file alone gives.

    Raises:
        ContractError: an entry point's id is that of another model, too.
    """
    if is_file(model):
        file, typed = local_file(model), model.rpartition(":")[0]
        chosen = name or derive([file])[file]
        return Factory(chosen, model, lambda: _function(file.path, file.function, typed), file.path.parent)
    points = [point for point in installed() if point.name == model]
    if not points:
        return None
    origins = [*others, *map(origin, points)]
    if len(origins) > 1:
        raise ContractError(
            f"{model!r} is the id of {' and of '.join(origins)}; rename an entry point or uninstall its package"
        )
    return Factory(model, origins[0], points[0].load)


def from_reference(name: str, function: str) -> Factory:
    """The factory of a reference `module:function`, of a module that is installed or in the working directory."""
    module, _, attribute = function.partition(":")
    return Factory(name, function, lambda: getattr(importlib.import_module(module), attribute), Path.cwd())


def is_factory(model: str) -> bool:
    """Whether a user's name for a model is that of a function."""
    return is_file(model) or any(point.name == model for point in installed())


def is_file(model: str) -> bool:
    """Whether a user's name for a model asks to run a Python file: `path.py:function`."""
    return re.fullmatch(r".+\.py:\w+", model) is not None


def local_file(model: str) -> LocalFile:
    """The file and the function of `path.py:function`."""
    path, _, function = model.rpartition(":")
    return LocalFile(at_home(path).resolve(), function)


def installed() -> tuple[EntryPoint, ...]:
    """The entry points of all installed packages, by id."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda point: point.name))


def origin(point: EntryPoint) -> str:
    """Function, package and version of an entry point."""
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value}{package}"


def _function(path: Path, name: str, typed: str) -> Any:
    """A function of a Python file, which the user has typed so.

    Raises:
        UnknownNameError: the file has none of that name.
        ContractError: there is no such file.
    """
    if not path.exists():
        raise _NoFileError(f"{typed}: no such file")
    module = _module(path)
    if not hasattr(module, name):
        own = {found for found, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
        raise UnknownNameError(f"function of {path.name}", name, {found for found in own if found[0] != "_"})
    return getattr(module, name)


def _module(path: Path) -> Any:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(str(path), path)  # a name that hides no other module
    assert spec is not None and spec.loader is not None  # any path that ends in .py has a loader
    module = importlib.util.module_from_spec(spec)
    with open_regular(path):  # Python itself would wait for a pipe's end
        sys.modules[spec.name] = module  # where dataclasses look for it
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise
    return module


@contextmanager
def _neighbours(folder: Path | None) -> Iterator[None]:
    """Within, modules of a folder can be imported; after it they are forgotten: another folder may have such, too.

    The import path is that of `global_state.known`, which undoes what is done to it.
    """
    if folder is None:
        yield
        return
    before = {name.partition(".")[0] for name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        new = {name for name, module in sys.modules.items() if name not in before and _home(module) == folder}
        for name in [name for name in sys.modules if name.partition(".")[0] in new]:
            del sys.modules[name]


def _home(module: Any) -> Path:
    """The folder that a module's file, or a package's folder, lies in."""
    file = Path(getattr(module, "__file__", None) or "")
    return file.parent.parent if file.name == "__init__.py" else file.parent
