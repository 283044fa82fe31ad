"""Results files of invented models, for tests of what reads them."""

import sys
from pathlib import Path

from pagbench import columns, results

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "benchmarks"))
import big_results


def rows(benchmark, name, index):
    return big_results.rows(benchmark, index, name)


def write(folder, benchmark, name, index, *, edit=lambda rows: rows, card=None, **document):
    """The file of one model: its rows edited, its card and its provenance with other fields."""
    source = big_results.provenance(benchmark, index, name)
    source["card"] |= card or {}
    result = results.Result(edit(rows(benchmark, name, index)), source | document)
    path = results.path_of(folder, benchmark, name)
    results.write(path, result, columns.schema(benchmark))
    return path
