"""Third-party collections of models: a model's id begins with the name of its source."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

from pagbench.cards import ModelCard

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class Source(Protocol):
    """What each module of this folder offers. Importing it imports neither torch nor the third party's package."""

    def names(self) -> Iterable[str]:
        """Ids of all its models; empty where they cannot be listed."""
        ...

    def card(self, model: str) -> ModelCard:
        """The card of one model, `loader: source`.

        Raises:
            UnknownNameError: the source has no such model; the message has the closest names.
        """
        ...

    def build(self, card: ModelCard, files: Sequence[Path]) -> "nn.Module":
        """The network with its weights, in float32 on the CPU: pixels in [0, 1] → what the card's `output` says.

        Args:
            card: its card.
            files: what `card.download` names, on disk, in that order.

        Raises:
            WeightsError: the files are not the model's.
        """
        ...


@runtime_checkable
class RobustSource(Source, Protocol):
    """A source that has measured how robust its models are."""

    def robust_accuracy(self, model: str) -> float | None:
        """Of a model, by its id, for the threat that its card names; None where it is not known."""
        ...


class SourceEntry(NamedTuple):
    """Where a source is.

    Attributes:
        module: its full name.
        package: of `pagbench.errors.EXTRAS`, which `build` needs; None for none.
        indexed: whether it lists its models without importing a package.
    """

    module: str
    package: str | None = None
    indexed: bool = False


SOURCES: dict[str, SourceEntry] = {
    "hf": SourceEntry("pagbench.models.sources.hub"),
    "robustbench": SourceEntry("pagbench.models.sources.robustbench", package="robustbench", indexed=True),
    "smoothing": SourceEntry("pagbench.models.sources.cohen", indexed=True),
    "timm": SourceEntry("pagbench.models.sources.timm"),
    "torchvision": SourceEntry("pagbench.models.sources.torchvision"),
}
"""By the first part of an id: a new source is a module and a line here."""


def package(model: str) -> str | None:
    """The package of an extra that building a source's model needs; None where it needs none.

    >>> package("robustbench/cifar10/L2/Standard")
    'robustbench'
    """
    entry = SOURCES.get(model.partition("/")[0])
    return None if entry is None else entry.package


def find(model: str) -> Source | None:
    """The source that an id names; None where it names none."""
    name = model.partition("/")[0]
    return load(name) if name in SOURCES else None


def load(name: str) -> Source:
    """The source of this name."""
    return cast(Source, importlib.import_module(SOURCES[name].module))
