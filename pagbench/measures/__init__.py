"""Measures: pure functions of one classifier on one batch that return named per-sample columns.

`pagbench.columns.REGISTRY` names them. Each is the function `measure` of the module that has its name, with its
columns declared beside it, in `<name>.yaml`. A measure of an ability has a function `pictures` beside.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from jaxtyping import Float
from torch import Tensor

from pagbench.columns import ABILITIES, MEASURES
from pagbench.errors import UnknownNameError
from pagbench.measures.context import Batch, MeasureContext

__all__ = ["Batch", "MeasureContext", "load", "load_pictures"]

Measure = Callable[[MeasureContext], Mapping[str, Float[Tensor, "b"]]]
Pictures = Callable[[MeasureContext], Mapping[str, Float[Tensor, "b c h w"]]]


def load(name: str) -> Measure:
    """The function of a measure, whose module is imported when it is first taken.

    Raises:
        UnknownNameError: no such measure.
    """
    if name not in MEASURES:
        raise UnknownNameError("measure", name, MEASURES)
    return cast("Measure", import_module(f"{__name__}.{name}").measure)


def load_pictures(name: str) -> Pictures:
    """The function of an ability that returns the images of its declaration.

    Raises:
        UnknownNameError: no such ability.
    """
    if name not in ABILITIES:
        raise UnknownNameError("ability", name, ABILITIES)
    return cast("Pictures", import_module(f"{__name__}.{name}").pictures)
