"""Parquet files that a stranger may have written: the size of every page is known before any is unpacked. No torch."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LARGEST_FOOTER = 6 * 2**20
"""Bytes of what the end of a file says of the rest, the provenance among it; published ones take 40 kB."""
LONGEST_TEXT = 500
"""Bytes of one text in a row."""
_LONGEST_LIST = 150
"""Row groups and the like; twice as many as columns, where those are more. Such lists lie within each other, and an
item of three bytes takes a thousand in memory."""
_MOST_ROW_GROUPS = 100
_MOST_PAGES = 10_000
_BYTES_PER_VALUE = 32
"""What a value may take unpacked, on average over the columns: a float takes 4, an id some 20."""
_SLACK = 2**20
_MAGIC = b"PAR1"
_ARROWS_SCHEMA, _PASSED_OVER = b"ARROW:schema", b"ARROW\0schema"
"""Key of Arrow's own copy of the schema, which says what columns mean, and what it is called where it is to be passed
over. Its fields may lie in one place of the file, and each takes memory of its own: 2 MB would fill 15 GB. No text of
JSON, and no name of a column of ours, has a zero byte."""
_ENCODINGS = frozenset((0, 2, 3, 8, 9))
"""Plain, by dictionary, by runs, by split bytes: with all others a text may be made of the one before it."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PARTS = {_DATA: (5, 2), _DICTIONARY: (7, 2), _DATA_V2: (8, 4)}
"""Of each kind of page the field of its own header, and the field of the encoding in that."""


def largest_file(schema: pa.Schema, rows: int) -> int:
    """Bytes that a file of so many rows may have."""
    return LARGEST_FOOTER + _largest_content(schema, rows)


def _largest_content(schema: pa.Schema, rows: int) -> int:
    return _SLACK + _BYTES_PER_VALUE * len(schema) * rows


class Opened(NamedTuple):
    """A file whose footer has been read, and nothing of its rows."""

    file: pq.ParquetFile
    content: bytes
    metadata: dict[bytes, bytes]
    """What the footer says beside the columns."""

    def has(self, schema: pa.Schema) -> bool:
        """Whether these are its columns."""
        return bool(self.file.schema_arrow.remove_metadata().equals(_by_dictionary(schema)))


def open_file(content: bytes, schema: pa.Schema) -> Opened:
    """Reads the footer.

    Args:
        content: the whole file.
        schema: of its rows.

    Raises:
        ValueError: it is larger than any that pagbench writes, or none.
        pa.ArrowException: it is damaged.
        OSError: likewise.
    """
    if len(content) < 12 or content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise ValueError("not a whole Parquet file")
    footer = int.from_bytes(content[-8:-4], "little")
    if footer > min(LARGEST_FOOTER, len(content) - 12):
        raise ValueError(f"not a whole Parquet file: its footer takes {footer} bytes")
    content = content[: -8 - footer] + content[-8 - footer :].replace(_ARROWS_SCHEMA, _PASSED_OVER)
    texts, longest = [field.name for field in schema if pa.types.is_string(field.type)], 2 * len(schema)
    try:
        file = _open(content, longest, texts)  # a text is in memory once, however many rows have it
    except KeyError:  # it has no such columns
        file = _open(content, longest, [])
    said = file.metadata.metadata or {}
    return Opened(file, content, {key: value.replace(_PASSED_OVER, _ARROWS_SCHEMA) for key, value in said.items()})


def _open(content: bytes, longest: int, texts: list[str]) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(content),
        read_dictionary=texts,
        thrift_string_size_limit=LARGEST_FOOTER,
        thrift_container_size_limit=max(longest, _LONGEST_LIST),
        arrow_extensions_enabled=False,
    )


def read_rows(opened: Opened, schema: pa.Schema, rows: int) -> pa.Table:
    """The rows, columns as in the schema.

    Args:
        opened: the file.
        schema: that it has.
        rows: the most that there may be.

    Raises:
        ValueError: there are more, they would unpack to more than so many rows need, or the file is damaged.
        pa.ArrowException: it is damaged.
        OSError: likewise.
    """
    footer = opened.file.metadata
    if footer.num_rows > rows:
        raise ValueError(f"{footer.num_rows} rows, expected at most {rows}")
    if footer.num_row_groups > _MOST_ROW_GROUPS:
        raise ValueError(f"{footer.num_row_groups} row groups, expected at most {_MOST_ROW_GROUPS}")
    unpacked, left = 0, _largest_content(schema, rows)
    for number, page in enumerate(_pages(opened, schema)):
        unpacked += page.unpacked
        if unpacked > left or number >= _MOST_PAGES:
            raise ValueError(f"unpacks to more than {left} bytes or {_MOST_PAGES} pages")
    table = opened.file.read(use_threads=False)  # Arrow's threads have aborted a process that ended soon after
    texts = {name: _texts(name, table[name]) for name in schema.names if pa.types.is_string(schema.field(name).type)}
    return pa.table([texts.get(name, table[name]) for name in schema.names], schema=schema)


def _texts(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts, none of which is long, as strings."""
    for chunk in column.chunks:
        chunk.validate(full=True)  # they are UTF-8
        longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
        if longest > LONGEST_TEXT:
            raise ValueError(f"{name}: a text of {longest} bytes, expected at most {LONGEST_TEXT}")
    return column.cast(pa.string())


def _by_dictionary(schema: pa.Schema) -> pa.Schema:
    """The schema with texts as they are read."""
    texts = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([field.with_type(texts) if pa.types.is_string(field.type) else field for field in schema])


class _Page(NamedTuple):
    """What the header of a page says: its kind, the bytes that it unpacks to, how many values, and where it ends."""

    kind: int
    unpacked: int
    values: int
    end: int


def _pages(opened: Opened, schema: pa.Schema) -> Iterator[_Page]:
    """The pages of all columns, as Arrow will read them.

    Raises:
        ValueError: they are not what the footer says.
    """
    footer, size = opened.file.metadata, len(opened.content)
    groups = [footer.row_group(index) for index in range(footer.num_row_groups)]
    if sum(group.num_rows for group in groups) != footer.num_rows or any(group.num_rows < 0 for group in groups):
        raise ValueError("its row groups have other rows than it says")
    for group in groups:
        if group.num_columns != len(schema):
            raise ValueError(f"a row group of {group.num_columns} columns, expected {len(schema)}")
        for index, name in enumerate(schema.names):
            chunk = group.column(index)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                start = chunk.dictionary_page_offset
            end = start + chunk.total_compressed_size
            if not 0 <= start <= end <= size or chunk.file_path or chunk.path_in_schema != name:
                raise ValueError(f"{name}: its pages are not where it says")
            found = 0
            while start < end:
                page = _page(opened.content, start, name)
                start, found = page.end, found + (0 if page.kind == _DICTIONARY else page.values)
                if not 0 <= page.values <= group.num_rows:
                    break
                yield page
            if start != end or found != group.num_rows or chunk.num_values != group.num_rows:
                raise ValueError(f"{name}: its pages have other values than it says")


def _page(content: bytes, start: int, name: str) -> _Page:
    try:
        header, body = _struct(content, start)
        kind, unpacked, packed = (header[field] for field in (1, 2, 3))
        part, encoding = _PARTS[kind]
        own = header[part]
        values, encoded = own[1], own[encoding]
    except (IndexError, KeyError, TypeError):
        raise ValueError(f"{name}: a page without a header") from None
    if any(isinstance(number, dict) for number in (unpacked, packed, values, encoded)):
        raise ValueError(f"{name}: a page whose sizes are no numbers")
    if encoded not in _ENCODINGS or min(unpacked, packed) < 0:
        raise ValueError(f"{name}: a page of encoding {encoded} and {unpacked} bytes, which pagbench does not write")
    return _Page(kind, unpacked, values, body + packed)


_INT32, _STRUCT = 5, 12
_BYTES = {1: 0, 2: 0, 3: 1, 7: 8}
"""Of values of a fixed size, by their kind: true, false, a byte, a double."""
_VARINTS, _BINARY = (4, _INT32, 6), 8


def _struct(content: bytes, place: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol: its 32-bit numbers and structs by field, and where it ends.

    Lists, which headers of pages do not have, are refused.

    Raises:
        IndexError: it is cut off.
        TypeError: it holds something else.
    """
    fields: dict[int, Any] = {}
    number = 0
    while byte := content[place]:
        place, kind = place + 1, byte & 15
        if not byte >> 4:
            raise TypeError("a field far from the one before")
        number += byte >> 4
        if kind == _STRUCT and depth < 3:
            fields[number], place = _struct(content, place, depth + 1)
        elif kind in _VARINTS:
            value, place = _varint(content, place)
            if kind == _INT32:
                fields[number] = (value >> 1) ^ -(value & 1)
        elif kind == _BINARY:
            length, place = _varint(content, place)
            place += length
        elif kind in _BYTES:
            place += _BYTES[kind]
        else:
            raise TypeError(f"a value of kind {kind}")
    return fields, place + 1


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise TypeError("a number of more than 64 bits")
