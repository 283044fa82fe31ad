"""Data sets by card: float32 pixels in [0, 1], labels, and sample ids that stay the same for ever.

Cards are read without torch: what needs it is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from pagbench.data.base import DatasetCard

if TYPE_CHECKING:
    from pagbench.data.dataset import Dataset, Splits, load, splits

__all__ = ["AnyDatasetCard", "Dataset", "DatasetCard", "Splits", "load", "splits"]

DATASETS = (
    "pagbench.data.digits:DigitsCard",
    "pagbench.data.gaussians:GaussiansCard",
    "pagbench.data.sphere:SphereCard",
    "pagbench.data.idx:IdxCard",
    "pagbench.data.distractor:DistractorCard",
    "pagbench.data.photographs:PhotographsCard",
    "pagbench.data.cifar:CifarCard",
    "pagbench.data.imagenet:ImageNetCard",
    "pagbench.data.samples:SamplesCard",
)
"""Every data set: the module that holds all about it, and the class of its card."""


def card_types() -> tuple[type[DatasetCard], ...]:
    """The classes of the cards of all data sets."""
    named = (name.split(":") for name in DATASETS)
    return tuple(getattr(import_module(module), card) for module, card in named)


if TYPE_CHECKING:
    AnyDatasetCard = DatasetCard
else:
    AnyDatasetCard = Annotated[Union[card_types()], Field(discriminator="kind")]  # noqa: UP007 (of a tuple)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pagbench.data' has no attribute {name!r}")
    return getattr(import_module("pagbench.data.dataset"), name)
