"""One results file: the rows of a model on a benchmark with their provenance, as Parquet with a digest of both."""

import hashlib
import io
import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from pagbench.cards import ModelCard
from pagbench.errors import ResultsError, first_line
from pagbench.results import parquet, plain
from pagbench.results.preflight import Preflight
from pagbench.results.provenance import Provenance
from pagbench.results.verification import Verification
from pagbench.storage.paths import StoragePath

FORMAT = 2
"""1: doubles. 2: floats."""

FLOAT_BITS = 24
"""Significant bits of a float32."""
MOST_ROWS = 100_000
"""Of a file whose benchmark is not known; twice as many as ImageNet has images for validation."""
_BROTLI_LEVEL = 4  # smaller than by level 9, for a tenth of its time
_KEY, PACKED = b"pagbench", b"pagbench.packed"
"""Of the provenance in a file's footer: JSON, or the same compressed by zlib and in base85, as published files have it.
Other readers of Parquet want text there."""
_DIGEST = b"pagbench.sha256"
_COLUMNS = b"pagbench.columns"
_WITHOUT = "a Parquet file without pagbench's provenance; move it out of the results folder"
_FEW_VALUES = 50
_LISTED = 5
_IDENTITY = ("format", "revision", "benchmark_digest", "weights_sha256", "behaviour", "seed")
_HASHES = {
    "benchmark_digest": "another definition of the benchmark",
    "weights_sha256": "other weights",
    "behaviour": "another architecture or preprocessing",
}
"""What other hashes mean, which themselves tell nobody anything."""
_FINGERPRINT_TOLERANCE = 1e-3
_GRADIENT_ROUNDING = 1e-5
"""A difference of gradients that is always tolerated, where the largest logit is 1: some times float32's resolution."""


class DamagedError(ResultsError):
    """A results file that is not what was written: cut off, or with other bytes."""


class Declared(NamedTuple):
    """What is known of a model beside its rows; None where nothing is."""

    preflight: Preflight | None = None
    verification: Verification | None = None
    license: str | None = None
    trained_on_target: bool | None = None
    seconds_per_image: float | None = None
    embargo: str | None = None
    network: tuple[str, list[float]] | None = None
    """Sha256 of the weights, and outputs on probe images."""
    card: ModelCard | None = None
    """What a training is told by; of a network whose card records one."""
    submitted: bool = False
    """Whether the results are a submission's, beside published ones."""


@dataclass(frozen=True)
class Result:
    """Rows of one model on one benchmark, and where they come from.

    Attributes:
        rows: one row per sample, columns of `pagbench.columns.schema`; null (NaN) means not scored.
        document: the provenance as it is in the file, plain JSON values; fields that pagbench does not know are kept.
        verification: what a rerun of some of the rows says of them; None where there is none of this very file.
        path: the merged file that they were read from, or will be in; None for rows that were just measured.
        submitted: whether they are of a submission, beside the published results.
    """

    rows: pd.DataFrame
    document: Mapping[str, Any]
    verification: Verification | None = None
    path: Path | None = None
    submitted: bool = False

    @cached_property
    def provenance(self) -> Provenance:
        """The document, validated.

        Raises:
            ValueError: a field is missing or of another type.
        """
        return Provenance.model_validate(self.document)

    @property
    def name(self) -> str:
        """The model's id."""
        return self.provenance.card.id

    @property
    def declared(self) -> Declared:
        """What is known of the model beside its rows."""
        source, card = self.provenance, self.provenance.card
        seconds = source.wall_seconds / len(self.rows) if source.wall_seconds and len(self.rows) else None
        embargo = source.weights_sha256 if card.embargo else None
        network = (source.weights_sha256, source.fingerprint)
        return Declared(
            source.preflight,
            self.verification,
            card.license,
            card.trained_on_target,
            seconds,
            embargo,
            network,
            card if card.training else None,
            self.submitted,
        )

    def difference(self, other: Provenance) -> str:
        """Names what differs from the other provenance; empty where rows would be the same.

        Outputs and input gradients on probe images are compared too, within rounding: code and attributes that no hash
        sees change them. Where only one of the two has gradients, weights and architecture of the card must do.
        So are the weights behind the benchmark's targets, where both know them.
        """
        own = self.provenance
        differences = [
            _HASHES.get(key) or f"{key} {str(getattr(own, key))[:12]} instead of {str(getattr(other, key))[:12]}"
            for key in _IDENTITY
            if getattr(own, key) != getattr(other, key)
        ]
        known, other_known = own.target_weights, other.target_weights
        differences += [
            f"{part} weights {known[part][:12]} instead of {other_known[part][:12]}"
            for part in sorted(set(known) & set(other_known))
            if known[part] != other_known[part]
        ]
        if not _are_same_outputs(own.fingerprint, other.fingerprint):
            differences.append("other outputs on the probe images")
        ours, theirs = own.real_fingerprint, other.real_fingerprint
        if ours is not None and theirs is not None and not _are_same_outputs(ours, theirs):
            differences.append("other outputs on the benchmark's images")
        differences += _gradient_difference(own, other)
        return ", ".join(differences)


def _are_same_outputs(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    here, there = np.array(ours), np.array(theirs)
    scale = max(1e-6, float(np.abs(there).max(initial=0)))
    return here.shape == there.shape and bool(np.abs(here - there).max(initial=0) <= _FINGERPRINT_TOLERANCE * scale)


def _gradient_difference(own: Provenance, other: Provenance) -> Iterator[str]:
    """What differs in the input gradients on the probe images; nothing where they are the same."""
    ours, theirs = own.gradient_fingerprint, other.gradient_fingerprint
    if ours is None and theirs is None:
        return
    if ours is None or theirs is None:
        card = own.card
        if card.weights_sha256 is None and card.download is None and card.loader == "checkpoint":
            yield "version 0.1.0 kept no gradient of them, and no card's weights say which network it was"
    elif len(ours) != len(theirs) or not all(map(_is_same_gradient, ours, theirs)):
        yield "another input gradient on the probe images"


def _is_same_gradient(ours: list[float] | None, theirs: list[float] | None) -> bool:
    """Whether two gradients of an image agree; where there is none, it is as one of zeros."""
    size = len(ours or theirs or ())
    here, there = (np.zeros(size) if row is None else np.array(row) for row in (ours, theirs))
    if here.shape != there.shape:
        return False
    scale = float(np.abs([here, there]).max(initial=0))
    return bool(np.abs(here - there).max(initial=0) <= _FINGERPRINT_TOLERANCE * scale + _GRADIENT_ROUNDING)


def write(
    path: Path | StoragePath, result: Result, schema: pa.Schema, *, bits: int = FLOAT_BITS, packed: bool = False
) -> None:
    """Writes a file as a whole: readers see the old file or the new one, never half of one.

    Args:
        path: the file.
        result: rows and provenance.
        schema: of the rows.
        bits: significant bits of measured values, 24 for all that a float has.
        packed: whether to compress the provenance, which then takes half the room, and to leave out what columns mean.

    The footer also has, as JSON under `pagbench.columns`, what the schema says of each column (`unit`, `definition`,
    `better`; see `pagbench.columns.schema`), and whatever metadata the schema has, as `pagbench.benchmark` (see
    `pagbench.results.schema_of`). Both are for other readers: pagbench itself reads neither, they do not count in the
    digest, and files without them are as good.

    >>> import json, pyarrow.parquet as pq
    >>> metadata = pq.read_schema("results/digits@2/digits/standard.parquet").metadata  # doctest: +SKIP
    >>> json.loads(metadata[b"pagbench.columns"])["off_response_1"]  # doctest: +SKIP
    {'unit': 'L1 of softmax', 'definition': '‖softmax f(x + e·u) - …', 'better': 'lower'}
    >>> json.loads(metadata[b"pagbench.benchmark"])  # doctest: +SKIP
    {'label': 'digits@2', 'digest': '2a98…', 'epsilon': 1.0, 'sigma': 1.0}

    Raises:
        ResultsError: the disk refuses.
    """
    measured = [field.name for field in schema if field.type == pa.float32()]
    rounded = {name: significant(result.rows[name].to_numpy(np.float32), bits) for name in measured}
    table = pa.Table.from_pandas(
        result.rows.assign(**rounded), schema=schema, preserve_index=False
    ).replace_schema_metadata(None)
    content = json.dumps(dict(result.document), sort_keys=True)
    varying = [name for name in measured if len(np.unique(rounded[name])) > _FEW_VALUES]
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer,
        table.schema,
        compression="brotli",
        compression_level=_BROTLI_LEVEL,
        store_schema=False,  # readers would take its metadata, and not see what is added here
        write_statistics=False,
        use_dictionary=[name for name in schema.names if name not in varying],
        column_encoding=dict.fromkeys(varying, "BYTE_STREAM_SPLIT"),
    ) as writer:
        writer.write_table(table)
        provenance = {PACKED: b85encode(zlib.compress(content.encode(), 9))} if packed else {_KEY: content}
        described = {} if packed else {**(schema.metadata or {}), _COLUMNS: json.dumps(_descriptions(schema))}
        writer.add_key_value_metadata({**described, **provenance, _DIGEST: digest(table, content)})
    try:
        StoragePath.parse(path).write(buffer.getvalue())
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot write results ({error.strerror or first_line(error)}); finished batches are kept"
        ) from None


def _descriptions(schema: pa.Schema) -> dict[str, dict[str, str]]:
    return {
        field.name: {key.decode(): text.decode() for key, text in (field.metadata or {}).items()} for field in schema
    }


def digest(table: pa.Table, content: str) -> str:
    """Sha256 of every value and of the provenance, whatever the compression."""
    sha256 = hashlib.sha256("\0".join([content, *table.schema.names]).encode())
    for column in table.columns:
        values = column.combine_chunks()
        if pa.types.is_string(values.type):
            _, offsets, text = pa.concat_arrays([values]).buffers()
            sha256.update(offsets[: 4 * (len(values) + 1)])
            sha256.update(text)
        else:
            sha256.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).tobytes())
    return sha256.hexdigest()


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


def read(path: Path | StoragePath, schema: pa.Schema, rows: int = MOST_ROWS) -> Result:
    """Reads one results file, whoever has written it.

    Sizes are looked at before anything is unpacked: a file takes no more memory than so many rows need. All that is
    read of its provenance is of its type and within its range, and all texts are short lines without hidden marks.

    Args:
        path: the file.
        schema: of its rows.
        rows: the most that there may be.

    Raises:
        DamagedError: its bytes are not those that were written, or not what pagbench writes.
        ResultsError: it is not a results file of this format and schema, or the disk refuses.
        FileNotFoundError: it has vanished.
        MemoryError: there is no room for it.
    """
    try:
        stored = StoragePath.parse(path).read(parquet.largest_file(schema, rows))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from None
    try:
        opened = parquet.open_file(stored, schema)
        if not opened.has(schema):
            raise ResultsError(f"{path}: {_foreign(opened, schema)}")
        table = parquet.read_rows(opened, schema, rows)
        document, provenance = _provenance(path, table, opened.metadata)
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        reason = plain.flaw(error) if isinstance(error, ValidationError) else first_line(error)
        raise DamagedError(f"{path}: not a readable results file ({reason}); delete it and run again") from None
    doubles = [field.with_type(pa.float64()) if field.type == pa.float32() else field for field in schema]
    result = Result(table.cast(pa.schema(doubles)).to_pandas(), document)
    result.__dict__["provenance"] = provenance  # or it would be validated once more
    return result


def _foreign(opened: parquet.Opened, schema: pa.Schema) -> str:
    """What a file of other columns is."""
    with suppress(ValueError, RecursionError):
        text = provenance_text(opened.metadata)
        if text is None:
            return _WITHOUT
        document = json.loads(text)
        if not isinstance(document, dict) or "format" not in document:
            return "a Parquet file whose provenance is not pagbench's; move it out of the results folder"
        if document["format"] != FORMAT:
            return _other_format(document["format"])
    names = opened.file.schema_arrow.names
    odd = sorted(set(names) ^ set(schema.names)) or ["of other types"]
    listed = ", ".join([*(name[:60] for name in odd[:_LISTED]), *(["…"] if len(odd) > _LISTED else [])])
    return (
        f"columns {listed} do not fit the benchmark ({len(names)} columns, expected {len(schema)}); run again with "
        "--overwrite"
    )


def provenance_text(metadata: Mapping[bytes, bytes]) -> bytes | None:
    """The provenance as JSON; None where there is none.

    Raises:
        ValueError: it is damaged, larger than any that pagbench writes, or there are two of them.
    """
    if PACKED not in metadata:
        return metadata.get(_KEY)
    if _KEY in metadata:  # readers that know one key alone would see another file
        raise ValueError(f"it has two provenances, {_KEY.decode()} and {PACKED.decode()}")
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(b85decode(metadata[PACKED]), parquet.LARGEST_FOOTER)
    except zlib.error as error:
        raise ValueError(f"its provenance is damaged: {error}") from None
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError(f"its provenance is cut off, or takes more than {parquet.LARGEST_FOOTER} bytes")
    return text


def _other_format(format: object) -> str:
    return f"results format {str(format)[:60]}, this pagbench reads {FORMAT}; run again or upgrade"


def _provenance(
    path: Path | StoragePath, table: pa.Table, metadata: Mapping[bytes, bytes]
) -> tuple[dict[str, Any], Provenance]:
    """The provenance in the file as it is and validated, compared with its digest where it has one.

    Raises:
        ResultsError: it is no results file, or of another format.
        ValueError: it is damaged.
    """
    written, text = metadata.get(_DIGEST), provenance_text(metadata)
    if written is None and text is None:
        raise ResultsError(f"{path}: {_WITHOUT}")
    text = text or b""
    if written is not None and digest(table, text.decode()).encode() != written:
        raise ValueError("its bytes are not those that were written")
    content = plain.parse(text)
    if isinstance(content, dict) and content.get("format") != FORMAT:
        raise ResultsError(f"{path}: {_other_format(content.get('format'))}")
    return content, Provenance.model_validate(content)
