"""What a file of weights says it holds against what it is, byte by byte, before anything loads it. No torch."""

import json
import math
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pagbench.errors import first_line
from pagbench.submissions import limits
from pagbench.submissions.findings import Finding

_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_DIMENSIONS = 8
_TENSORS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|"
    r"torch(\.storage)? (\w+Storage|Size|b?float\w*|u?int\w+)"
)
"""What the pickle of tensors and numbers names; the loader knows more, as numpy's types, and trusts what is in them."""
_NAMING = ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")


class _Flaw(Exception):
    """Why a file is not what it should be."""


def look(path: Path) -> Iterator[Finding]:
    """Whether a file of weights is whole, plain and no larger inside than outside.

    A safetensors header must describe the file to the last byte; a PyTorch file must be an archive that stores its
    parts as they are, and its pickle must name nothing but tensors.
    """
    try:
        found = _safetensors(path) if path.suffix == ".safetensors" else _pytorch(path)
        yield Finding("ok", path.name, found)
    except (_Flaw, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        yield Finding("error", path.name, f"{error}; save the state dict anew, best as safetensors")


def _safetensors(path: Path) -> str:
    """Format: 8 bytes of the header's length, the header in JSON, the tensors (huggingface/safetensors, "Format")."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(limits.HEADER_BYTES, size - 8):
            raise _Flaw(
                f"its header claims {length} bytes, at most {min(limits.HEADER_BYTES, max(0, size - 8))} can be"
            )
        header = _json(file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _Flaw("its metadata are not text")
    if not 0 < len(header) <= limits.TENSORS:
        raise _Flaw(f"{len(header)} tensors, expected 1 to {limits.TENSORS}")
    end = values = 0
    for begin, stop, name, count in sorted(_entry(name, entry) for name, entry in header.items()):
        if begin != end:
            raise _Flaw(f"tensor {name!r} begins at byte {begin}, expected {end}: tensors overlap or leave a hole")
        end, values = stop, values + count
    if end != size - 8 - length:
        raise _Flaw(f"its tensors take {end} bytes by its header, {size - 8 - length} are there")
    _limited(values)
    return f"safetensors, {len(header)} tensors, {values} values"


def _json(content: bytes) -> dict[str, Any]:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise _Flaw("its header names a tensor twice")
        return dict(pairs)

    try:
        header = json.loads(content, object_pairs_hook=distinct)
    except (ValueError, RecursionError):
        raise _Flaw("its header is no JSON") from None
    if not isinstance(header, dict):
        raise _Flaw("its header is no JSON object")
    return header


def _entry(name: str, entry: Any) -> tuple[int, int, str, int]:
    """Begin, end, name and number of values of one tensor."""
    shown = name[:60]
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _Flaw(f"tensor {shown!r} needs dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _naturals(shape) or len(shape) > _DIMENSIONS or not _naturals(offsets) or len(offsets) != 2:
        raise _Flaw(f"tensor {shown!r} has a shape or offsets that are none")
    width = _BYTES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if width is None:
        raise _Flaw(f"tensor {shown!r} is of an unknown type {str(entry['dtype'])[:20]!r}")
    count = math.prod(shape)
    if offsets[1] - offsets[0] != count * width:
        raise _Flaw(f"tensor {shown!r} has {offsets[1] - offsets[0]} bytes, its shape {shape} needs {count * width}")
    return offsets[0], offsets[1], shown, count


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**53 for value in values)


def _pytorch(path: Path) -> str:
    """`torch.save` stores the parts of its archive uncompressed: nothing in it can be larger than the file."""
    if not zipfile.is_zipfile(path):
        raise _Flaw("no archive as torch.save writes since 1.6")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if len(parts) > limits.TENSORS:
        raise _Flaw(f"{len(parts)} parts, at most {limits.TENSORS} are read")
    for part in parts:
        if part.compress_type != zipfile.ZIP_STORED or part.file_size != part.compress_size:
            raise _Flaw(
                f"part {part.filename[:60]!r} is compressed ({part.compress_size} bytes that unpack to "
                f"{part.file_size}), which torch.save does not do"
            )
    total = sum(part.file_size for part in parts)
    if total > path.stat().st_size:
        raise _Flaw(f"its parts overlap: {total} bytes in a file of {path.stat().st_size}")
    _names_only_tensors(_pickle(path, parts))
    return f"PyTorch archive, {len(parts)} parts, {total} bytes"


def _pickle(path: Path, parts: list[zipfile.ZipInfo]) -> bytes:
    found = [part for part in parts if part.filename.lower().endswith("data.pkl")]
    if len(found) != 1 or found[0].file_size > limits.HEADER_BYTES:
        raise _Flaw(f"{len(found)} pickles, expected one of at most {limits.HEADER_BYTES} bytes")
    with zipfile.ZipFile(path) as archive:
        return archive.read(found[0])


def _names_only_tensors(content: bytes) -> None:
    """Looks at every instruction of a pickle; none is followed."""
    try:
        for code, named, _ in pickletools.genops(content):
            if code.name in _NAMING and not (code.name == "GLOBAL" and _TENSORS.fullmatch(str(named))):
                raise _Flaw(f"its pickle holds code or other values than tensors ({str(named)[:60]!r})")
    except ValueError as error:
        raise _Flaw(f"its pickle is damaged ({first_line(error)[:60]})") from None


def _limited(values: int) -> None:
    if values > limits.PARAMETERS:
        raise _Flaw(f"{values} values, at most {limits.PARAMETERS} are loaded")
