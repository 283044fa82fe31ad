"""pagbench: do a classifier's input gradients mean anything, and why?

Every public name, and every module that is named here, is imported when it is first used, so that commands that need
no network stay fast.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pagbench.benchmarks.splits import splits
    from pagbench.models.loading import load_model
    from pagbench.ranking import compare, leaderboard
    from pagbench.reports.gallery import gradients
    from pagbench.results.frames import load_results
    from pagbench.running.runner import run

__version__ = version("pagbench")
__all__ = [
    "__version__",
    "compare",
    "gradients",
    "leaderboard",
    "load_model",
    "load_results",
    "run",
    "splits",
]

_HOMES = {
    "compare": "pagbench.ranking",
    "gradients": "pagbench.reports.gallery",
    "leaderboard": "pagbench.ranking",
    "load_model": "pagbench.models.loading",
    "load_results": "pagbench.results.frames",
    "run": "pagbench.running.runner",
    "splits": "pagbench.benchmarks.splits",
}
_MODULES = ("benchmarks", "columns", "errors", "results", "training")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"pagbench.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'pagbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
