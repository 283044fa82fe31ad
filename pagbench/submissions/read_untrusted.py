"""Reads a results file that a stranger has sent: its size is known before anything of it is unpacked. No torch."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pagbench import results
from pagbench.errors import ResultsError, first_line
from pagbench.results import Result
from pagbench.submissions import folder

LARGEST_CONTENT = 64 * 2**20
"""Bytes that the rows may say that they unpack to."""
MOST_ROW_GROUPS = 100
MEMORY = 2**30
"""Bytes that reading may take, whatever the file says."""


def read_results(path: Path, schema: pa.Schema, rows: int) -> Result:
    """Reads one results file within limits of size and memory.

    Args:
        path: the file.
        schema: of its rows.
        rows: the most that there may be.

    Raises:
        ResultsError: a limit is exceeded, or it is not a results file of this format and schema.
    """
    try:
        if path.is_symlink() or not path.is_file():
            raise ResultsError(f"{path}: not a plain file; put the file itself there")
        size = path.stat().st_size
        if size > folder.RESULTS_BYTES:
            raise ResultsError(f"{path}: {_mebibytes(size)}, expected at most {_mebibytes(folder.RESULTS_BYTES)}")
        footer = pq.read_metadata(path)  # what the end of the file says of the rest: nothing is unpacked
        content = sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ResultsError(f"{path}: not a whole Parquet file ({reason}); measure with `pagbench run`") from None
    if footer.num_rows > rows:
        raise ResultsError(f"{path}: {footer.num_rows} rows, but the benchmark has {rows} samples; measure again")
    if footer.num_columns != len(schema):
        raise ResultsError(f"{path}: {footer.num_columns} columns, expected {len(schema)}; measure again")
    if footer.num_row_groups > MOST_ROW_GROUPS:
        raise ResultsError(f"{path}: {footer.num_row_groups} row groups, expected at most {MOST_ROW_GROUPS}")
    if not 0 <= content <= LARGEST_CONTENT:
        raise ResultsError(f"{path}: unpacks to {_mebibytes(content)}, expected at most {_mebibytes(LARGEST_CONTENT)}")
    with _limited_memory(MEMORY):
        try:
            return results.read(path, schema)
        except MemoryError:
            raise ResultsError(f"{path}: unpacks to more than {_mebibytes(MEMORY)}; write it anew") from None


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


@contextmanager
def _limited_memory(more: int) -> Iterator[None]:
    """No more memory than so many bytes beyond what is in use; without effect where the system knows no such limit."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * os.sysconf("SC_PAGESIZE") + more
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # others hand out what they have kept, which is in use already
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    try:
        yield
    finally:
        pa.set_memory_pool(pool)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
