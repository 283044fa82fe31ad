"""Data sets that may not be on this machine."""

import pytest

from pagbench import data


def splits_or_skip(benchmark):
    """The benchmark's data; skips the test where its files are not installed, for tests download nothing."""
    if (absent := benchmark.dataset.missing(benchmark.samples)) is not None:
        pytest.skip(f"not installed: {absent}")
    return data.splits(benchmark)
