"""Which image of a benchmark's data set is measured, and which may be trained on."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pagbench import benchmarks
from pagbench.benchmarks import Benchmark

if TYPE_CHECKING:
    from pagbench.data import Splits


@dataclass(frozen=True)
class Row:
    """One image.

    Attributes:
        sample_id: its id.
        split: `train`, `calibration`, `measured`, or `unused`.
        part: of the data set as its publisher gives it, as `train` and `test`; empty where there is none.
        index: in that part, from 0.
    """

    sample_id: str
    split: str
    part: str = ""
    index: int | None = None


def splits(benchmark: str | Benchmark) -> "Splits":
    """The images of a benchmark: `train` is for training, `calibration` fits temperatures, `test` is measured.

    Each has `images`, float32 in [0, 1] of shape (n, c, h, w), `labels` of shape (n,), and `ids`.

    Args:
        benchmark: name, `name@version`, or a definition.

    >>> len(splits("digits").train.ids)
    1257

    Raises:
        UnknownNameError: no such benchmark.
        DataError: the data set is missing or not what its card says.
    """
    from pagbench import data

    return data.splits(benchmarks.load(benchmark))


def count(benchmark: Benchmark) -> int:
    """How many rows its table has, without making them."""
    numbered = map(str, range(sum(size for _, size in benchmark.dataset.parts)))
    return len({*numbered, *(benchmark.training or ()), *benchmark.calibration, *benchmark.samples})


def table(benchmark: Benchmark) -> Iterator[Row]:
    """Every image of the data set, in its publisher's order; of a data set without one, those of the three splits.

    No image is read.
    """
    split_of = dict.fromkeys(benchmark.training or (), "train")
    split_of |= dict.fromkeys(benchmark.calibration, "calibration") | dict.fromkeys(benchmark.samples, "measured")
    rest = "train" if benchmark.training is None else "unused"
    first = 0
    for part, size in benchmark.dataset.parts:
        for index in range(size):
            name = str(first + index)
            yield Row(name, split_of.pop(name, rest), part, index if part else None)
        first += size
    yield from (Row(name, split) for name, split in split_of.items())


def to_csv(benchmark: Benchmark) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sample_id", "split", "part", "index"))
    writer.writerows((row.sample_id, row.split, row.part, row.index) for row in table(benchmark))
    return text.getvalue()
