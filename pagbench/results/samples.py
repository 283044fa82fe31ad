"""Where the rows of a file lie among a benchmark's samples."""

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pagbench.benchmarks import Benchmark


def positions(sample_ids: "pd.Series[Any]", benchmark: Benchmark) -> NDArray[np.int64]:
    """Where samples lie in the benchmark's order, shape (n,); -1 for those that are not its own."""
    ids, known = pa.array(sample_ids, from_pandas=True).cast(pa.string()), _array(benchmark.samples)
    if isinstance(ids, pa.ChunkedArray):  # of data frames that were put together
        ids = pa.concat_arrays(ids.chunks)
    if ids.equals(known):
        return np.arange(len(known))
    return np.asarray(pc.fill_null(pc.index_in(ids, value_set=known), -1)).astype(np.int64)


def whole(places: NDArray[np.int64], benchmark: Benchmark) -> bool:
    """Whether samples at these positions are all that there are, in the benchmark's order."""
    return np.array_equal(places, np.arange(len(benchmark.samples)))


@lru_cache(maxsize=8)
def _array(samples: tuple[str, ...]) -> pa.Array:
    """One for all models of a benchmark."""
    return pa.array(samples, pa.string())
