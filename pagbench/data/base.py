"""What every data set has: a card that loads it, facts about it, and a folder for its files. No torch."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from pagbench.cards import Card
from pagbench.errors import DataError, first_line
from pagbench.storage import cache

if TYPE_CHECKING:
    from torch import Tensor as Tensor  # noqa: PLC0414 (for other modules)

    from pagbench.data.dataset import ImageFiles
else:
    Tensor = Any  # cards are read without torch; a shape beside it is checked all the same


class Source(NamedTuple):
    """A work that a data set is made of.

    Attributes:
        what: its name.
        author: who made it.
        license: under which it is published.
    """

    what: str
    author: str
    license: str


@dataclass(frozen=True)
class DatasetFacts:
    """What a reader should know of a data set before a run needs it. Text between backticks is code.

    Attributes:
        what: its name.
        size: of the download, in words.
        license: as its publisher states it.
        place: where its files lie; empty where it has none of its own.
        cite: the publication to cite; None where there is none.
        fetched: whether `pagbench fetch` can get it.
        sources: works by several authors that it is made of, in the order of its classes.
    """

    what: str
    size: str = "none"
    license: str = "none"
    place: str = ""
    cite: str | None = None
    fetched: bool = False
    sources: tuple[Source, ...] = ()


class LoadedImages(NamedTuple):
    """All images of a data set.

    Attributes:
        pixels: in [0, 1], float32, shape (n, c, h, w); or files that are read when they are needed.
        labels: class indices, int64, shape (n,).
        ids: one per image, the same for ever; None for "0", "1", ...
    """

    pixels: "np.ndarray | ImageFiles"
    labels: np.ndarray
    ids: tuple[str, ...] | None = None


class DatasetCard(Card):
    """Base of the cards of data sets. A subclass says how its data set is loaded, and is named in `pagbench.data`."""

    defines_target: ClassVar[bool] = True
    """Whether it has images enough for a target to mean something; benchmarks on others are for trying things out."""
    kind: str
    """Of the data set, unique: a subclass narrows it to a literal."""

    @property
    def facts(self) -> DatasetFacts:
        """Name, size, licence, place and source; by default those of data that are drawn from a seed."""
        return DatasetFacts("none (drawn from a seed)")

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What the images consist of as their publisher gives them, with sizes, where ids count through all parts.

        A part without a name is of images that are drawn. Empty where only the data set itself tells.
        """
        return ()

    @abstractmethod
    def load(self) -> LoadedImages:
        """The whole data set.

        Raises:
            DataError: it is missing, or not what the card says; the line says what to do.
        """

    def missing(self, ids: Sequence[str] = ()) -> str | None:
        """What of the data set is not on this machine, in one line; None where nothing is missing. Opens no socket.

        Args:
            ids: of the images that are needed; a data set that may be there in part looks for these.
        """
        return None


def root() -> Path:
    """Folder of data sets: `$PAGBENCH_DATA`, else `data` in the cache folder, `~/.cache/pagbench` by default."""
    return cache.named_by("PAGBENCH_DATA") or cache.root() / "data"


def download(name: str, place: Path, start: Callable[[], object], by_hand: str) -> None:
    """Lets torchvision download a data set.

    Args:
        name: of the data set, for the message.
        place: where its files are looked for.
        start: downloads.
        by_hand: what to do where that is impossible.

    Raises:
        DataError: offline, or the download failed; says what to do by hand.
    """
    if cache.offline():
        raise DataError(f"{name}: not in {place}, and --offline (or PAGBENCH_OFFLINE) allows no download; {by_hand}")
    try:
        start()
    except Exception as error:  # torchvision raises whatever its download raises
        raise DataError(f"{name}: not in {place} and the download failed ({first_line(error)}); {by_hand}") from None
