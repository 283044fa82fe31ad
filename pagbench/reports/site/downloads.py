"""The leaderboard's files to download: all of its columns, as CSV, JSON and Parquet."""

import io
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pagbench.ranking import render
from pagbench.studies.networks import Study


class Download(NamedTuple):
    """One file: its format's name, its place below the site's folder, and its content."""

    format: str
    path: str
    content: bytes

    @property
    def size(self) -> str:
        """For people: `81 kB`."""
        return f"{max(1, round(len(self.content) / 1000)):,} kB"


def files(study: Study) -> list[Download]:
    """The three files of a benchmark; the same board gives the same bytes."""
    board, benchmark = study.board, study.benchmark
    contents = {
        "CSV": render.to_csv(board, benchmark).encode(),
        "JSON": render.to_json(board, benchmark).encode(),
        "Parquet": to_parquet(board),
    }
    return [Download(name, f"data/{benchmark.label}.{name.lower()}", content) for name, content in contents.items()]


def to_parquet(board: pd.DataFrame) -> bytes:
    """All columns; null where not scored.

    Columns of text are typed as such even where a board leaves all of them empty, and the names of the packages that
    wrote the file are left out.
    """
    schema = pa.schema([(name, _type(board[name])) for name in board])
    table = pa.Table.from_pandas(board, schema=schema, preserve_index=False).replace_schema_metadata()
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _type(column: "pd.Series[Any]") -> pa.DataType:
    found = pa.array(column, from_pandas=True).type
    return pa.string() if pa.types.is_null(found) or pa.types.is_large_string(found) else found
