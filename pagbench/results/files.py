"""One results file: a Parquet file of rows, provenance inside."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pagbench.errors import ResultsError, first_line
from pagbench.results.result import Provenance, Result

FORMAT = 2
"""1: doubles. 2: floats."""

FLOAT_BITS = 24
"""Significant bits of a float32."""
_BROTLI_LEVEL = 9
_KEY = b"pagbench"
_FEW_VALUES = 50


def write(path: Path, result: Result, schema: pa.Schema, *, bits: int = FLOAT_BITS) -> None:
    """Writes a file beside its place, then renames: readers see the old file or the new one, never half of one.

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
    table = pa.Table.from_pandas(result.rows.assign(**rounded), schema=schema, preserve_index=False)
    table = table.replace_schema_metadata(None)
    content = json.dumps(dict(result.provenance), sort_keys=True)
    varying = [name for name in measured if len(np.unique(rounded[name])) > _FEW_VALUES]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(
            temporary,
            table.schema,
            compression="brotli",
            compression_level=_BROTLI_LEVEL,
            store_schema=False,  # it would hold the provenance a second time
            write_statistics=False,
            use_dictionary=[name for name in schema.names if name not in varying],
            column_encoding=dict.fromkeys(varying, "BYTE_STREAM_SPLIT"),
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({_KEY: content})
        temporary.replace(path)
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write results ({error.strerror or error}); finished parts are kept"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


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


def read(path: Path, schema: pa.Schema) -> Result:
    """Reads one results file.

    Raises:
        ResultsError: it is not a results file of this format and schema.
        FileNotFoundError: it has vanished.
        MemoryError: there is no room for it.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        content = json.loads((table.schema.metadata or {})[_KEY])
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise ResultsError(
                f"{path}: results format {content.get('format')}, this pagbench reads {FORMAT}; run again or upgrade"
            )
        Provenance.model_validate(content)
    except (FileNotFoundError, MemoryError):
        raise
    except KeyError:
        raise ResultsError(
            f"{path}: a Parquet file without pagbench's provenance; move it out of the results folder"
        ) from None
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path}: not a readable results file ({first_line(error)}); delete it and run again"
        ) from None
    if not table.schema.equals(schema):
        odd = sorted(set(table.schema.names) ^ set(schema.names)) or ["of other types"]
        raise ResultsError(f"{path}: columns {', '.join(odd)} do not fit the benchmark; run again with --overwrite")
    doubles = [field.with_type(pa.float64()) if field.type == pa.float32() else field for field in schema]
    return Result(table.cast(pa.schema(doubles, schema.metadata)).to_pandas(), content)
