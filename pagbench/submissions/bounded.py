"""Reads a results file that a stranger has sent: its size is known before anything of it is unpacked. No torch."""

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pagbench import results
from pagbench.errors import ResultsError, first_line
from pagbench.results import Result
from pagbench.submissions import limits

LARGEST_FOOTER = 8 * 2**20
"""Bytes of schema and provenance, pictures included."""
LARGEST_CONTENT = 64 * 2**20
"""Bytes that the rows may say that they unpack to."""
MOST_ROW_GROUPS = 100
MEMORY = 2**30
"""Bytes that reading may take, whatever the file says."""

_MAGIC = b"PAR1"


def read(path: Path, schema: pa.Schema, rows: int) -> Result:
    """Reads one results file within limits of size and memory.

    Args:
        path: the file.
        schema: of its rows.
        rows: the most that there may be.

    Raises:
        ResultsError: a limit is exceeded, or it is not a results file of this format and schema.
    """
    _check_outside(path)
    _check_metadata(path, schema, rows)
    with _memory(MEMORY):
        try:
            return results.read(path, schema)
        except MemoryError:
            raise ResultsError(f"{path}: unpacks to more than {_mebibytes(MEMORY)}; write it anew") from None


def _check_outside(path: Path) -> None:
    """What can be known without unpacking anything: a plain file of bounded size with a bounded footer."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ResultsError(f"{path}: not a plain file; put the file itself there")
        size = path.stat().st_size
        with path.open("rb") as file:
            begins = file.read(len(_MAGIC))
            file.seek(max(0, size - 8))
            end = file.read(8)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if size > limits.RESULTS:
        raise ResultsError(f"{path}: {_mebibytes(size)}, expected at most {_mebibytes(limits.RESULTS)}")
    if begins != _MAGIC or end[4:] != _MAGIC:
        raise ResultsError(f"{path}: not a Parquet file, or not a whole one; measure with `pagbench run`")
    (footer,) = struct.unpack("<I", end[:4])
    if footer > min(size, LARGEST_FOOTER):
        raise ResultsError(
            f"{path}: a footer of {footer} bytes in a file of {size}, expected at most {_mebibytes(LARGEST_FOOTER)}"
        )


def _check_metadata(path: Path, schema: pa.Schema, rows: int) -> None:
    """What the footer says: how many rows and columns there are, and how large they are unpacked."""
    try:
        found = pq.read_metadata(path)
        content = sum(found.row_group(index).total_byte_size for index in range(found.num_row_groups))
    except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
        raise ResultsError(f"{path}: not a readable Parquet file ({first_line(error)})") from None
    if found.num_rows > rows:
        raise ResultsError(f"{path}: {found.num_rows} rows, but the benchmark has {rows} samples; measure again")
    if found.num_columns != len(schema):
        raise ResultsError(f"{path}: {found.num_columns} columns, expected {len(schema)}; measure again")
    if found.num_row_groups > MOST_ROW_GROUPS:
        raise ResultsError(f"{path}: {found.num_row_groups} row groups, expected at most {MOST_ROW_GROUPS}")
    if not 0 <= content <= LARGEST_CONTENT:
        raise ResultsError(f"{path}: unpacks to {_mebibytes(content)}, expected at most {_mebibytes(LARGEST_CONTENT)}")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


@contextmanager
def _memory(more: int) -> Iterator[None]:
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
