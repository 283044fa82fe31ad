"""What arrived instead of a file, by its bytes: a web page, half a file, something else."""

import json
import re
import zipfile
from html import unescape
from pathlib import Path

_ZIP, _PICKLE, _GZIP = b"PK\x03\x04", b"\x80", b"\x1f\x8b"
_BEGINNINGS = {
    ".pt": (_ZIP, _PICKLE),
    ".pth": (_ZIP, _PICKLE),
    ".ckpt": (_ZIP, _PICKLE),
    ".bin": (_ZIP, _PICKLE),
    ".pkl": (_PICKLE,),
    ".npz": (_ZIP,),
    ".zip": (_ZIP,),
    ".gz": (_GZIP,),
    ".tgz": (_GZIP,),
}
"""First bytes by suffix; PyTorch's files are archives since 1.6, pickles before."""
_HDF5 = b"\x89HDF\r\n\x1a\n"
_SAFETENSORS = re.compile(rb'\s*\{\s*"[^"]*"\s*:\s*\{')
_EXPORTED = ("serialized_exported_program.json", "models/model.json", "archive_format", "archive_version")
_LOAD = "measure what a function returns, as path.py:function, that loads it by"
_LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header that its library reads."""
HEAD = 1 << 16
"""Bytes that suffice to know a page."""


def flaw(path: Path, name: str) -> str | None:
    """What is wrong with a file, without loading it; None where nothing is.

    Args:
        path: the file.
        name: what it will be called: the suffix says what to expect.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return "an empty file"
    if (page := web_page(head)) is not None:
        return page
    suffix = Path(name).suffix.partition("_")[0]  # `.pt_m0` is the first of an ensemble
    if suffix == ".safetensors":
        return _safetensors_flaw(path, size)
    expected = _BEGINNINGS.get(suffix)
    if expected and not head.startswith(expected):
        return f"no {suffix} file (it begins with {head[:16]!r})"
    if head.startswith(_ZIP) and not zipfile.is_zipfile(path):
        return f"truncated (an archive without its end, {size} bytes)"
    return None


def other_format(path: Path) -> str | None:
    """What a file of weights is where it is whole, but holds no state dict, and what to do with it; None elsewhere."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(_HDF5):
        return "an HDF5 file, as of Keras; save the weights of a PyTorch network"
    if _SAFETENSORS.match(head[8:]) is not None:
        return "a safetensors file under another name; let its name end in .safetensors"
    if head.startswith(_ZIP) and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
        if "constants.pkl" in names and any(name.startswith("code/") for name in names):
            return f"a TorchScript archive, which is a program; {_LOAD} torch.jit.load"
        if any(name in names or name in archive.namelist() for name in _EXPORTED):
            return f"a program of torch.export; {_LOAD} torch.export.load(...).module()"
    return None


def web_page(head: bytes) -> str | None:
    """What a web page says, in one line; None where the bytes do not begin a page."""
    text = head.decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        return None
    if "quota" in text.lower() or "too many users" in text.lower():
        return "its quota of downloads is used up (try again in a day, or in a browser)"
    title = re.search(r"<title[^>]*>([^<]*)</title>", text, re.IGNORECASE)
    words = " ".join(unescape(title[1]).split()) if title else ""
    return f"a web page{f' ({words[:80]})' if words else ''} instead of the file"


def _safetensors_flaw(path: Path, size: int) -> str | None:
    """The header says where the last tensor ends; see the format's description at huggingface/safetensors."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length) if length < min(size, _LONGEST_HEADER) else b"")
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "truncated or no safetensors file"
    whole = 8 + length + max(ends, default=0)
    return None if size == whole else f"truncated ({size} of {whole} bytes)"
