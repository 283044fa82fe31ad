"""One results file: a Parquet file of rows, provenance inside, and a digest of both."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pagbench.errors import ResultsError, first_line
from pagbench.results.result import Provenance, Result
from pagbench.storage.paths import StoragePath

FORMAT = 2
"""1: doubles. 2: floats."""

FLOAT_BITS = 24
"""Significant bits of a float32."""
_BROTLI_LEVEL = 4  # smaller than by level 9, for a tenth of its time
_KEY = b"pagbench"
_DIGEST = b"pagbench.sha256"
_FEW_VALUES = 50


class DamagedError(ResultsError):
    """A results file that is not what was written: cut off, or with other bytes."""


def write(path: Path | StoragePath, result: Result, schema: pa.Schema, *, bits: int = FLOAT_BITS) -> None:
    """Writes a file as a whole: readers see the old file or the new one, never half of one.

    Args:
        path: the file.
        result: rows and provenance.
        schema: of the rows.
        bits: significant bits of measured values, 24 for all that a float has.

    Raises:
        ResultsError: the disk refuses.
    """
    measured = [field.name for field in schema if field.type == pa.float32()]
    rounded = {name: significant(result.rows[name].to_numpy(np.float32), bits) for name in measured}
    table = pa.Table.from_pandas(
        result.rows.assign(**rounded), schema=schema, preserve_index=False
    ).replace_schema_metadata(None)
    content = json.dumps(dict(result.provenance), sort_keys=True)
    varying = [name for name in measured if len(np.unique(rounded[name])) > _FEW_VALUES]
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer,
        table.schema,
        compression="brotli",
        compression_level=_BROTLI_LEVEL,
        store_schema=False,  # it would hold the provenance a second time
        write_statistics=False,
        use_dictionary=[name for name in schema.names if name not in varying],
        column_encoding=dict.fromkeys(varying, "BYTE_STREAM_SPLIT"),
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_KEY: content, _DIGEST: digest(table, content)})
    try:
        StoragePath.parse(path).write(buffer.getvalue())
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write results ({error.strerror or first_line(error)}); finished parts are kept"
        ) from None


def digest(table: pa.Table, content: str) -> str:
    """Sha256 of what a file says, whatever its bytes are: of every value and of the provenance."""
    found = hashlib.sha256("\0".join([content, *table.schema.names]).encode())
    for column in table.columns:
        values = column.combine_chunks()
        if pa.types.is_string(values.type):
            _, offsets, text = pa.concat_arrays([values]).buffers()
            found.update(offsets[: 4 * (len(values) + 1)])
            found.update(text)
        else:
            found.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).tobytes())
    return found.hexdigest()


def significant(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Values rounded to so many significant bits, which compress better than noise does.

    >>> float(significant(np.float32([0.1234567]), 13)[0])
    0.1234588623046875
    """
    if bits >= FLOAT_BITS:
        return values
    whole = np.ascontiguousarray(values).view(np.uint32)
    dropped = FLOAT_BITS - bits
    kept = (whole + np.uint32(1 << (dropped - 1))) & ~np.uint32((1 << dropped) - 1)
    return np.where(np.isfinite(values), kept.view(np.float32), values)


def read(path: Path | StoragePath, schema: pa.Schema) -> Result:
    """Reads one results file.

    Raises:
        DamagedError: its bytes are not those that were written.
        ResultsError: it is not a results file of this format and schema, or the disk refuses.
        FileNotFoundError: it has vanished.
        MemoryError: there is no room for it.
    """
    try:
        stored = StoragePath.parse(path).read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from None
    try:
        table = pq.ParquetFile(pa.BufferReader(stored)).read()  # `read_table` looks for partitions first
        names, content = table.schema.names, _provenance(path, table)
    except (FileNotFoundError, MemoryError):
        raise
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise DamagedError(
            f"{path}: not a readable results file ({first_line(error)}); delete it and run again"
        ) from None
    if not table.schema.equals(schema):
        odd = sorted(set(names) ^ set(schema.names)) or ["of other types"]
        raise ResultsError(f"{path}: columns {', '.join(odd)} do not fit the benchmark; run again with --overwrite")
    doubles = [field.with_type(pa.float64()) if field.type == pa.float32() else field for field in schema]
    return Result(table.cast(pa.schema(doubles, schema.metadata)).to_pandas(), content)


def _provenance(path: Path | StoragePath, table: pa.Table) -> dict[str, Any]:
    """What the file says of itself, compared with its digest where it has one.

    Raises:
        ResultsError: it is no results file, or of another format.
        ValueError: it is damaged.
    """
    metadata = table.schema.metadata or {}
    written = metadata.get(_DIGEST)
    if written is None and _KEY not in metadata:
        raise ResultsError(f"{path}: a Parquet file without pagbench's provenance; move it out of the results folder")
    text = metadata.get(_KEY, b"").decode()
    if written is not None and digest(table, text).encode() != written:
        raise ValueError("its bytes are not those that were written")
    content: dict[str, Any] = json.loads(text)
    if isinstance(content, dict) and content.get("format") != FORMAT:
        raise ResultsError(
            f"{path}: results format {content.get('format')}, this pagbench reads {FORMAT}; run again or upgrade"
        )
    Provenance.model_validate(content)
    return content
