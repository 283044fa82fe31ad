"""What arrived instead of a file, by its bytes: a web page, half a file, something else."""

import os
import re
import zipfile
from html import unescape
from io import BufferedReader
from pathlib import Path

from safetensors import safe_open

from pagbench.errors import excerpt, first_line
from pagbench.storage.files import open_regular

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
_LONGEST_HEADER = 4 * 2**20
"""Bytes of a safetensors header that are read, for forty thousand tensors; their objects take twenty times as many."""
_LONGEST_DIRECTORY = 8 * 2**20
"""Bytes of an archive's directory that are read, for eighty thousand entries."""
HEAD = 1 << 16
"""Bytes that suffice to know a page."""


def flaw(path: Path, name: str) -> str | None:
    """What is wrong with a file, without loading it; None where nothing is.

    Args:
        path: the file.
        name: what it will be called: the suffix says what to expect.
    """
    with open_regular(path) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(HEAD)
        whole = not head.startswith(_ZIP) or zipfile.is_zipfile(file)
    if not head:
        return "an empty file"
    suffix = Path(name).suffix.partition("_")[0]  # `.pt_m0` is the first of an ensemble
    headed = suffix == ".safetensors" and head[8:9] == b"{"  # the length before it may look like `<`
    if not headed and (page := web_page(head)) is not None:
        return page
    if suffix == ".safetensors":
        return _safetensors_flaw(path, head, size)
    expected = _BEGINNINGS.get(suffix)
    if expected and not head.startswith(expected):
        return f"no {suffix} file (it begins with {head[:16]!r})"
    if not whole:
        return f"truncated (an archive without its end, {size} bytes)"
    return None


def other_format(path: Path) -> str | None:
    """What a file of weights is where it is whole, but holds no state dict, and what to do with it; None elsewhere."""
    with open_regular(path) as file:
        head = file.read(HEAD)
    if head.startswith(_HDF5):
        return "an HDF5 file, as of Keras; save the weights of a PyTorch network"
    if _SAFETENSORS.match(head[8:]) is not None:
        return "a safetensors file under another name; let its name end in .safetensors"
    if head.startswith(_ZIP):
        try:
            with open_regular(path) as file, archive(file) as opened:
                found = opened.namelist()
        except Exception:  # half an archive, which its reader says
            return None
        names = [name.partition("/")[2] for name in found]
        if "constants.pkl" in names and any(name.startswith("code/") for name in names):
            return f"a TorchScript archive, which is a program; {_LOAD} torch.jit.load"
        if any(name in names or name in found for name in _EXPORTED):
            return (
                f"a program of torch.export, of which `pagbench export` writes the graph; or {_LOAD} torch.export.load"
            )
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


def _safetensors_flaw(path: Path, head: bytes, size: int) -> str | None:
    """The library reads the header and compares it with the file's size, but takes any length that it can get."""
    length = int.from_bytes(head[:8], "little")
    if _LONGEST_HEADER < length <= size - 8:
        return f"a header of {length} bytes, at most {_LONGEST_HEADER} are read"
    try:
        with safe_open(path, framework="numpy"):
            return None
    except Exception as error:  # of its own, of the system
        return f"truncated or no safetensors file ({excerpt(first_line(error), 200)})"


class _Pieces(BufferedReader):
    """A file that is read in pieces, so that an archive's directory is not read whole, however long it is."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LONGEST_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of more than {_LONGEST_DIRECTORY} bytes")
        return super().read(size if size is not None and size >= 0 else _LONGEST_DIRECTORY)


def archive(file: BufferedReader) -> zipfile.ZipFile:
    """The archive in an opened file, with a directory of bounded length.

    Raises:
        BadZipFile: it is none, or its directory is too long.
    """
    return zipfile.ZipFile(_Pieces(file.raw))
